"""Comma-separated values of the environment, and comma-separated pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeVar

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

T = TypeVar("T")


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _pairs(value: object) -> object:
    if not isinstance(value, str):
        return value
    pairs = [part.split("=") for part in value.split(",") if part.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("must be pairs such as name=value, comma-separated")
    names = [name.strip() for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError("must have each name once")
    return {name: other.strip() for name, (_, other) in zip(names, pairs, strict=True)}


Listed = Annotated[tuple[T, ...], NoDecode, BeforeValidator(_split)]

Mapped = Annotated[Mapping[str, T], NoDecode, BeforeValidator(_pairs)]
