"""The key of the request being served."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from api import clients
from api.keys.key import Key

# A context variable reaches every coroutine and worker thread of a request.
_current: ContextVar[Key | None] = ContextVar("key", default=None)


@contextmanager
def noted(key: Key) -> Iterator[None]:
    """Take this key's owner as the client in this context, wherever it is."""
    token = _current.set(key)
    try:
        with clients.known_as(key.id):
            yield
    finally:
        _current.reset(token)


def get() -> Key | None:
    """The key; None where the client has sent none, or needs none."""
    return _current.get()
