"""The recipes of the models that this project serves. Nothing here is imported when serving."""
