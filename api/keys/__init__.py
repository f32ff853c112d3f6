"""API keys: who may do what, how often, and how much; ``python -m api.keys`` makes them."""
