"""Reproducible randomness that can go on anywhere."""

from __future__ import annotations

import hashlib

import torch


def chance(*key: str | int) -> torch.Generator:
    """A generator on the CPU that follows from a key alone.

    The key is hashed, as torch heeds the lowest 32 bits of a seed only: of two numbers packed into
    one seed, it would ignore the upper one.
    """
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
