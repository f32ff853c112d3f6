"""A transport that leaves closing to its protocol, which may want to go on reading."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class HalfClosing:
    """What uvicorn is given for a transport.

    Args:
        transport: the one that it stands for.
        close: called instead of the transport's ``close``.
        is_closing: whether that has been called, or the transport is closing by itself.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        close: Callable[[], None],
        is_closing: Callable[[], bool],
    ) -> None:
        self._transport = transport
        self.close = close
        self.is_closing = is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
