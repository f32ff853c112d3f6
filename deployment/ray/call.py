"""The call: one stream of a replica, with what can become of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException

logger = logging.getLogger(__name__)


class Lost(Exception):
    """The replica is gone, or never was there: another one may do it."""


class Full(Exception):
    """So many wait already that no replica is asked."""


class Ended(Exception):
    """The stream is at its end."""


class Call:
    """Reads a ``DeploymentResponseGenerator`` item by item, waiting no longer than asked to.

    Args:
        stream: of a handle with ``stream=True``.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._next: asyncio.Future[Any] | None = None
        self._finished = False

    async def next(self, seconds: float) -> Any:
        """The next item; None when there is none within so many seconds, and it may be asked again.

        Raises:
            Ended, Lost, Full: see there.
            RayTaskError: the replica's code raised an exception.
        """
        if self._next is None:
            self._next = asyncio.ensure_future(anext(self._stream))
        done, _ = await asyncio.wait((self._next,), timeout=max(0.0, seconds))
        if not done:
            return None
        result, self._next = self._next, None
        try:
            return result.result()
        except StopAsyncIteration:
            raise Ended from None
        except BackPressureError as error:
            raise Full(str(error)) from None
        except RayTaskError:
            raise
        except (RayError, RayServeException, asyncio.CancelledError) as error:
            # Of many kinds: its process died, or its node, the network failed, it is being stopped.
            raise Lost(f"{type(error).__name__}: {error}") from None

    def finish(self) -> None:
        """Nothing follows the last item: the replica's generator ends by itself."""
        self._finished = True

    async def close(self) -> None:
        """Cancel what is not done: the replica's generator is closed."""
        if self._finished:
            return
        if self._next is not None:
            self._next.cancel()
        # A call that no replica has taken raises here once more what it has failed with.
        with suppress(Exception):
            self._stream.cancel()
        if self._next is not None:
            await asyncio.gather(self._next, return_exceptions=True)


@asynccontextmanager
async def calling(stream: Any) -> AsyncGenerator[Call, None]:
    """A call that is closed at the end of the block."""
    call = Call(stream)
    try:
        yield call
    finally:
        await call.close()
