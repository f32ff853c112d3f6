"""Continuous-batching diffusion engine: torch and diffusers only, no HTTP, no serving framework."""
