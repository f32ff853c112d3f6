"""Recipes that make the models this project serves. Nothing here is imported when serving."""
