"""Predictions over HTTP, as the clients of Replicate's and Cog's APIs know them."""
