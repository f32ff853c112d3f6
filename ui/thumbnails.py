"""Small pictures of finished ones, made once and kept in memory as long as there is room."""

from __future__ import annotations

import asyncio
import struct
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Final

from PIL import Image, ImageOps

SIDE: Final = 256
_MAX_BYTES: Final = 32 * 1024 * 1024
# At once: a picture of four megapixels is 12 MB while it is made small.
_AT_ONCE: Final = 2
# Four times what the service makes: 50 MB where it is decoded.
_MAX_PIXELS: Final = 16_777_216


class Thumbnails:
    """Makes and keeps them.

    Args:
        room: bytes that they may take together; those looked at longest ago go first.
    """

    def __init__(self, room: int = _MAX_BYTES) -> None:
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._coming: dict[str, asyncio.Task[bytes]] = {}
        self._room = room
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def of(self, name: str, fetch: Callable[[], Awaitable[bytes]]) -> bytes:
        """The small picture of a file.

        Args:
            name: of the file, for ever the same; who asks for it may see it.
            fetch: brings the file; not called where it is kept.

        Returns:
            A WebP file with no side above ``SIDE``.

        Raises:
            OSError: the file is no picture.
        """
        if (made := self._kept.get(name)) is not None:
            self._kept.move_to_end(name)
            return made
        coming = self._coming.get(name)
        if coming is None:
            coming = self._coming[name] = asyncio.create_task(self._make(name, fetch))
            coming.add_done_callback(lambda _: self._coming.pop(name, None))
        # Others may wait for it too.
        return await asyncio.shield(coming)

    async def _make(self, name: str, fetch: Callable[[], Awaitable[bytes]]) -> bytes:
        async with self._places:
            made = await asyncio.to_thread(small, await fetch())
        self._kept[name] = made
        while sum(map(len, self._kept.values())) > self._room and len(self._kept) > 1:
            self._kept.popitem(last=False)
        return made

    def kept(self, name: str) -> bytes | None:
        """One that is there already."""
        return self._kept.get(name)

    def forget(self, name: str) -> None:
        """Drop one whose picture was deleted."""
        self._kept.pop(name, None)


def small(data: bytes) -> bytes:
    """A small WebP of a picture file; raises ``OSError`` for what is none."""
    try:
        return _small(data)
    except (SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise OSError("the picture is broken") from error


def _small(data: bytes) -> bytes:
    with Image.open(BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture:
        if picture.width * picture.height > _MAX_PIXELS:
            raise OSError("the picture is too large")
        picture.draft("RGB", (SIDE, SIDE))
        shown = ImageOps.exif_transpose(picture).convert("RGB")
    shown.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    written = BytesIO()
    shown.save(written, "WEBP", quality=80, method=2)
    return written.getvalue()
