"""Clients: the name of the one that a request comes from."""

from __future__ import annotations

from starlette.types import Scope


def address_of(scope: Scope) -> str:
    """The address of a connection's other end; empty where it has none, as on a Unix socket."""
    client = scope.get("client")
    return client[0] if client else ""
