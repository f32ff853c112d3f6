"""The benchmark: this service against the other ways to serve the same model, side by side."""
