"""The protocols: each with its own endpoints, field names and error body, on one backend."""
