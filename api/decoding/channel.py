"""The server's end of a decoding process' socket: frames, without blocking the event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable

from api.decoding.frames import LENGTH, Buffer


class ChannelClosed(Exception):
    """The other end has gone."""


async def send(channel: socket.socket, frames: Iterable[Buffer]) -> None:
    """Send frames from a non-blocking socket, without a copy. Raises ``ChannelClosed``."""
    loop = asyncio.get_running_loop()
    try:
        for frame in frames:
            await loop.sock_sendall(channel, LENGTH.pack(len(frame)))
            await loop.sock_sendall(channel, frame)
    except ConnectionError:
        raise ChannelClosed from None


async def receive(channel: socket.socket, longest: int) -> bytearray:
    """The next frame. Raises ``ChannelClosed``, also for one above ``longest`` bytes."""
    head = await _exactly(channel, LENGTH.size)
    (size,) = LENGTH.unpack(head)
    if size > longest:
        raise ChannelClosed
    return await _exactly(channel, size)


async def _exactly(channel: socket.socket, size: int) -> bytearray:
    loop = asyncio.get_running_loop()
    content = bytearray(size)
    received = 0
    while received < size:
        try:
            count = await loop.sock_recv_into(channel, memoryview(content)[received:])
        except ConnectionError:
            count = 0
        if not count:
            raise ChannelClosed
        received += count
    return content
