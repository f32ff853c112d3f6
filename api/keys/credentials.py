"""Credentials: the key in a request's headers. One in the URL is not looked at."""

from __future__ import annotations

import base64
import binascii

from starlette.datastructures import Headers

# How to send one, for the messages of refusals.
WAYS = "as Authorization: Bearer KEY, as X-API-Key: KEY, or as the password of HTTP Basic"


def presented(headers: Headers) -> str | None:
    """The key that a client sends; empty for something that cannot be one, None for nothing.

    ``X-API-Key`` goes before ``Authorization``, which may be for a gateway in front.
    """
    own = headers.getlist("x-api-key")
    if any(own):
        return own[0] if len(own) == 1 else ""
    # Some clients send an empty one where they have no credentials.
    given = [value for value in headers.getlist("authorization") if value.strip()]
    if not given:
        return None
    if len(given) > 1:
        return ""
    scheme, _, value = given[0].strip().partition(" ")
    match scheme.lower():
        case "bearer":
            return value.strip()
        case "basic":
            return _password(value.strip())
    return ""


def _password(encoded: str) -> str:
    try:
        decoded = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
    return decoded.partition(":")[2]
