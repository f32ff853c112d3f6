"""Data URLs: pictures in JSON as ``data:image/png;base64,...`` (RFC 2397)."""

from __future__ import annotations

from typing import Final

from api.protocols.kserve import base64_text
from contract.errors import ErrorCode, RequestError

_SCHEME: Final = "data:"
_BASE64: Final = ";base64"


def decode(name: str, url: str) -> bytes:
    """The bytes in a data URL that a client has sent as the field ``name``.

    What its media type says does not matter: the bytes say what they are.

    Raises:
        RequestError: INVALID_REQUEST for another URL, and for anything but base64.
    """
    head, comma, data = url.partition(",")
    scheme, parameters = head[: len(_SCHEME)].lower(), head[len(_SCHEME) :].lower()
    if scheme != _SCHEME or not comma or not parameters.endswith(_BASE64):
        raise RequestError(
            ErrorCode.INVALID_REQUEST,
            f"{name} must be a data URL with base64, data:image/png;base64,...: the service "
            "fetches nothing",
            field=name,
        )
    return base64_text.decode(name, data)
