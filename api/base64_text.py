"""Pictures in JSON: base64, as a string, in an object ``{"b64": "..."}`` or in a data URL."""

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


def of_data_url(url: str) -> str | None:
    """The base64 in ``data:image/png;base64,...`` (RFC 2397); None for any other URL.

    What its media type says does not matter: the bytes say what they are.
    """
    head, comma, data = url.partition(",")
    head = head.lower()
    return data if comma and is_data_url(head) and head.endswith(";base64") else None


def is_data_url(text: str) -> bool:
    """Whether a text is a data URL of any kind."""
    return text[:5].lower() == "data:"
