"""Weights in memory: an LRU cache within a budget, and the loader in front of it."""
