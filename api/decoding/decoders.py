"""The decoders: a few processes that decode clients' pictures, each for a bounded time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from starlette.requests import Request

from api import admission, arrival, clients
from api.decoding.frames import Buffer
from api.decoding.job import Decoded, Job, PictureFault
from api.decoding.process import DecodingProcess, ProcessLost
from api.decoding.turns import Turns
from api.disconnect import cancel_on_disconnect
from api.parameters import of_picture
from contract.errors import ErrorCode, RequestError
from settings import Settings

logger = logging.getLogger(__name__)

# Each may hold a few copies of a picture of max_input_pixels.
_PROCESSES: Final = 2
# Python with Pillow, and what Pillow takes for a pixel: the picture, two copies in the course of
# its conversion, and what its file's decoder has beside, each of four bytes a pixel.
_BASE_MEMORY: Final = 128 * 1024**2
_PIXEL_MEMORY: Final = 32


class Decoders:
    """Decodes the pictures of requests, fairly among clients.

    Args:
        settings: the limits.
    """

    def __init__(self, settings: Settings) -> None:
        self._seconds = settings.decode_seconds
        self._deadline = settings.deadline
        self._memory = (
            _BASE_MEMORY + 2 * settings.max_body_bytes + _PIXEL_MEMORY * settings.max_input_pixels
        )
        self._turns = Turns(_PROCESSES)
        self._idle: list[DecodingProcess] = []

    async def start(self) -> None:
        """Start the processes, so that the first pictures need not wait for them."""
        self._idle += [DecodingProcess(self._memory) for _ in range(_PROCESSES)]

    async def close(self) -> None:
        """End the processes."""
        while self._idle:
            await self._idle.pop().end()

    async def decode(self, job: Job, files: Sequence[Buffer], client: str) -> Decoded:
        """Do a job as soon as there is a process for it. Cancelling it ends it.

        How many may wait is for the caller to bound (``api.places``).

        Meanwhile its request waits for its admission (``api.admission``).

        Args:
            job: what is wanted.
            files: the picture's file, and the mask's if there is one.
            client: processes are shared among clients.

        Raises:
            PictureFault: a picture is at fault, also where it takes too long or breaks a process.
            RequestError: DEADLINE_EXCEEDED if the request's deadline passes, NOT_READY during a
                shutdown and if no process can be started.
        """
        with admission.awaited():
            try:
                async with asyncio.timeout(arrival.remaining(self._deadline)):
                    async with self._turns.turn(client):
                        return await self._decode(job, files)
            except TimeoutError:
                raise arrival.too_late(self._deadline) from None

    async def decode_for(self, asked: Request, job: Job, files: Sequence[Buffer]) -> Decoded:
        """Do a job of the request that is served; a client that leaves ends it.

        Raises:
            RequestError: what ``decode`` raises, in the client's words; CANCELLED if the client
                has left.
        """
        decoding = self.decode(job, files, clients.current())
        try:
            return await cancel_on_disconnect(asked.receive, decoding)
        except PictureFault as fault:
            raise of_picture(fault) from None

    async def _decode(self, job: Job, files: Sequence[Buffer]) -> Decoded:
        for _ in range(_PROCESSES + 1):
            try:
                return await self._attempt(job, files)
            except ProcessLost:
                # While it was idle, and so lately that nobody had noticed: the last try has a new
                # one.
                logger.warning("a decoding process was lost before it had looked at its pictures")
        raise _no_process()

    async def _attempt(self, job: Job, files: Sequence[Buffer]) -> Decoded:
        """Do a job. Raises ``ProcessLost`` where its pictures have nothing to do with that."""
        process = await self._process()
        reusable = False
        try:
            async with asyncio.timeout(self._seconds):
                decoded = await process.decode(job, files)
            reusable = True
            return decoded
        except PictureFault:
            reusable = True
            raise
        except TimeoutError:
            field = process.field or job.picture
            logger.warning("%s took more than %g seconds to decode", field, self._seconds)
            raise PictureFault(
                ErrorCode.OUT_OF_RANGE,
                field,
                f"{{{field}}} must be decoded within {self._seconds:g} seconds, and is not",
            ) from None
        except ProcessLost as loss:
            if loss.field is None:
                raise
            logger.warning("%s broke the process that was to decode it", loss.field)
            raise PictureFault(
                ErrorCode.INVALID_REQUEST, loss.field, f"{{{loss.field}}} cannot be decoded"
            ) from None
        finally:
            if reusable:
                self._idle.append(process)
            else:
                await process.end()

    async def _process(self) -> DecodingProcess:
        """A process that takes jobs. Raises ``ProcessLost``, ``RequestError``: NOT_READY."""
        while self._idle:
            process = self._idle.pop()
            if process.alive:
                break
            await process.end()
        else:
            try:
                process = DecodingProcess(self._memory)
            except OSError as error:
                logger.error("no decoding process could be started: %s", error)
                raise _no_process() from None
        try:
            await process.ready()
        except BaseException:
            await process.end()
            raise
        return process


def _no_process() -> RequestError:
    return RequestError(ErrorCode.NOT_READY, "no picture can be decoded now")
