"""Requests, events, errors and measurements: what crosses every border. No torch, no web."""
