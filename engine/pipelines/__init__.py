"""Pipelines: one module per architecture, each adapting a diffusers pipeline to the engine."""
