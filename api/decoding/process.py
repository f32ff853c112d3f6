"""A decoding process as the server sees it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from api.decoding import channel, frames
from api.decoding.frames import Buffer
from api.decoding.job import Decoded, Job, PictureFault
from contract.errors import ErrorCode

_ROOT = Path(__file__).resolve().parents[2]
# Importing Pillow; a busy machine needs longer.
_START_SECONDS: Final = 60.0
_LONGEST_HEADER: Final = 4096


class ProcessLost(Exception):
    """The process has ended, or does not talk sense.

    Attributes:
        field: the picture that it was at; None if it was at none.
    """

    def __init__(self, field: str | None) -> None:
        super().__init__(field)
        self.field = field


class DecodingProcess:
    """One process; it does one job at a time. Create it in the thread of the event loop.

    The process ends with that thread, as Linux counts a parent's death by threads.

    Args:
        memory: bytes that it may use.

    Attributes:
        field: the picture that it is at, or was at last in the current job.
    """

    def __init__(self, memory: int) -> None:
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  # our own code and numbers
                [
                    *(sys.executable, "-m", "api.decoding.worker"),
                    *map(str, (theirs.fileno(), memory, os.getpid())),
                ],
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )
        self._channel.setblocking(False)
        self._ready = False
        self.field: str | None = None
        # Where nobody has ended it.
        self._finalizer = weakref.finalize(self, _end, self._process, self._channel)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it is there."""
        return self._process.poll() is None

    async def ready(self) -> None:
        """Wait until it takes jobs. Raises ``ProcessLost``."""
        if not self._ready:
            try:
                async with asyncio.timeout(_START_SECONDS):
                    await self._header()
            except TimeoutError:
                raise ProcessLost(None) from None
            self._ready = True

    async def decode(self, job: Job, files: Sequence[Buffer]) -> Decoded:
        """Do a job.

        Args:
            job: what is wanted.
            files: the picture's file, and the mask's if there is one.

        Raises:
            PictureFault: a picture is at fault; the process is as good as new.
            ProcessLost: it is of no use any more. So it is after any other exception.
        """
        self.field = None
        try:
            await channel.send(self._channel, [frames.header(job.to_json()), *files])
            while "begins" in (answer := await self._header()):
                self.field = str(answer["begins"])
            if "fault" in answer:
                fault = answer["fault"]
                raise PictureFault(ErrorCode(fault["code"]), fault["field"], fault["template"])
            width, height = int(answer["result"]["width"]), int(answer["result"]["height"])
            area = width * height
            if area > job.sizing.max_pixels:
                area = 0
            picture = await self._content(3 * area)
            mask = None if job.mask is None else await self._content(area)
        except (channel.ChannelClosed, ValueError, KeyError, TypeError):
            raise ProcessLost(self.field) from None
        return Decoded(width, height, picture, mask)

    async def _content(self, size: int) -> bytes:
        content = await channel.receive(self._channel, size)
        if len(content) != size:
            raise channel.ChannelClosed
        return bytes(content)

    async def _header(self) -> dict[str, Any]:
        try:
            content = json.loads(await channel.receive(self._channel, _LONGEST_HEADER))
        except (channel.ChannelClosed, ValueError):
            raise ProcessLost(self.field) from None
        if not isinstance(content, dict):
            raise ProcessLost(self.field)
        return content

    async def end(self) -> None:
        """Kill it, whatever it is at, and wait until its memory is free."""
        self._process.kill()
        await asyncio.shield(asyncio.to_thread(self._finalizer))


def _end(process: subprocess.Popen[bytes], channel: socket.socket) -> None:
    process.kill()
    process.wait()
    channel.close()
