"""The page for people: makes, refines and keeps pictures through the service's HTTP API."""
