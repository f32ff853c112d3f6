"""The client of the request being served: those of one client share its part of the engine.

Who it is is its API key, where it has one (``api.keys.current``), else its address, as the server
has it: behind the proxies of ``SD_TRUSTED_PROXIES``, uvicorn has put what they say in the place of
their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from ipaddress import IPv6Address, IPv6Network, ip_address

from starlette.types import Scope

NETWORK_BITS = 64  # of IPv6: the smallest network that a customer gets
UNKNOWN = "unknown"

# A context variable reaches every coroutine and worker thread of a request.
_current: ContextVar[str] = ContextVar("client", default="")


@contextmanager
def noted(scope: Scope) -> Iterator[None]:
    """Take the peer of this connection as the client in this context."""
    peer = scope.get("client")
    with known_as("" if peer is None else identity(peer[0])):
        yield


@contextmanager
def known_as(name: str) -> Iterator[None]:
    """Take this as the client's identity in this context."""
    token = _current.set(name)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> str:
    """The client's identity; empty for one without an address, in this process or on a socket."""
    return _current.get()


def identity(address: str) -> str:
    """What clients with this address have in common: itself, or an IPv6 network."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return UNKNOWN
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((int(parsed), NETWORK_BITS), strict=False))
