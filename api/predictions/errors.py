"""What is wrong with a store; without what a store needs, as every process imports it."""

from __future__ import annotations


class StoreUnusable(Exception):
    """The store is not where ``SD_STORE`` says, or cannot be written to."""
