"""Frames: the messages between the server and a decoding process, on a stream socket.

A frame is its length, four bytes, and its content. Nothing is pickled: what a hostile picture may
have made of the worker must not reach the server.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterable
from typing import Any, Final

Buffer = bytes | bytearray | memoryview

LENGTH: Final = struct.Struct(">I")


def header(content: Any) -> bytes:
    """The content of a frame with JSON."""
    return json.dumps(content).encode()


def send(channel: socket.socket, frames: Iterable[Buffer]) -> None:
    """Send frames from a blocking socket."""
    for frame in frames:
        channel.sendall(LENGTH.pack(len(frame)))
        channel.sendall(frame)


def receive(channel: socket.socket) -> bytes | None:
    """The next frame; None at the end."""
    head = channel.recv(LENGTH.size, socket.MSG_WAITALL)
    if len(head) < LENGTH.size:
        return None
    (size,) = LENGTH.unpack(head)
    content = channel.recv(size, socket.MSG_WAITALL) if size else b""
    return content if len(content) == size else None
