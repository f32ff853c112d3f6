"""Predictions: requests for pictures that are written down before they are accepted."""
