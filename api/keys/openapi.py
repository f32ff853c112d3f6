"""The keys in the OpenAPI document: how to send one, where, and what may be refused."""

from __future__ import annotations

from typing import Any, Final

from api.endpoints import Endpoint
from api.errors import DESCRIPTIONS
from api.keys.scopes import Access

SCHEMES: Final[dict[str, Any]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "The password is an API key; the name does not matter",
    },
}
_CHALLENGE: Final = {"description": "How to authenticate", "schema": {"type": "string"}}
_QUOTAS: Final = {
    "RateLimit": {
        "description": 'How the quotas of the key stand: `"requests";r=59;t=60` for 59 that remain '
        "and 60 seconds until there are more; none where it has no quotas",
        "schema": {"type": "string"},
    },
    "RateLimit-Policy": {
        "description": 'The quotas: `"requests";q=60;w=60` for 60 in 60 seconds',
        "schema": {"type": "string"},
    },
}


def security(endpoint: Endpoint) -> list[dict[str, list[str]]]:
    """The security requirements of an endpoint: any one of the ways."""
    return [] if endpoint.access is Access.OPEN else [{name: []} for name in SCHEMES]


def responses(endpoint: Endpoint) -> dict[int | str, dict[str, Any]]:
    """The responses of an endpoint where clients need a key."""
    declared = dict(endpoint.responses)
    if endpoint.access is Access.OPEN:
        return declared
    # The body of its protocol's errors.
    likeness = declared.get(403, {})
    headers = likeness.get("headers", {})
    declared[401] = {
        **likeness,
        "description": DESCRIPTIONS[401],
        "headers": {**headers, "WWW-Authenticate": _CHALLENGE},
    }
    busy = declared.get(429, {**likeness, "description": DESCRIPTIONS[429]})
    declared[429] = {**busy, "headers": {**busy.get("headers", {}), **_QUOTAS}}
    return dict(sorted(declared.items(), key=lambda one: str(one[0])))
