"""Disconnects: work for a client is cancelled when the client leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from contract.errors import ErrorCode, RequestError

logger = logging.getLogger(__name__)

T = TypeVar("T")


async def cancel_on_disconnect(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Wait for ``work``, or for the client to disconnect: that cancels it.

    A server does not cancel a handler whose client has left, so it has to look itself.

    Args:
        receive: the request's ASGI channel, with the body read to its end.
        work: the coroutine whose result the client waits for.

    Raises:
        RequestError: CANCELLED when the client has left.
    """
    working = asyncio.create_task(work)
    departure = asyncio.create_task(_departure(receive))
    try:
        await asyncio.wait((working, departure), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        logger.info("the client left: cancelling its job")
        raise client_left()
    finally:
        working.cancel()
        departure.cancel()
        await asyncio.gather(working, departure, return_exceptions=True)


def client_left() -> RequestError:
    """The error of a request whose client has left."""
    return RequestError(ErrorCode.CANCELLED, "the client left")


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
