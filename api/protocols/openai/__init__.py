"""OpenAI's Images API, and the list of models."""
