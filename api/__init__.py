"""The HTTP API of any host: endpoints, validation, errors, and the protocols that clients speak."""
