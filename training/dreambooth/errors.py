"""The errors of training."""

from __future__ import annotations


class TrainingError(Exception):
    """Training cannot start or go on; the message is a sentence that a person can act on."""
