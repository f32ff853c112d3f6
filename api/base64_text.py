"""Pictures in JSON: base64, as a string or in an object ``{"b64": "..."}``."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from contract.errors import ErrorCode, RequestError


def encode(data: bytes) -> str:
    """Bytes as JSON can have them."""
    return base64.b64encode(data).decode("ascii")


def decode(name: str, value: Any) -> bytes:
    """The bytes that a client has sent as the input ``name``.

    Raises:
        RequestError: INVALID_REQUEST for anything but base64.
    """
    if isinstance(value, dict) and list(value) == ["b64"]:
        value = value["b64"]
    if not isinstance(value, str):
        raise RequestError(
            ErrorCode.INVALID_REQUEST,
            f'{name} must be a file in base64: a string, or {{"b64": "..."}}',
            field=name,
        )
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(
            ErrorCode.INVALID_REQUEST, f"{name} must be valid base64", field=name
        ) from None
