"""HTTP by hand: bytes over a socket, as no well-behaved client sends them."""

from __future__ import annotations

import http.client
import json
import socket
import time
from dataclasses import dataclass
from email.message import Message
from io import BytesIO
from typing import Any, Self

# What a server that responds at all needs at most; it usually takes milliseconds.
REPLY_SECONDS = 20.0
# How long a connection that stays open is watched for a response too many.
QUIET_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Reply:
    """One response: status, headers, and the body as its framing says."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """A TCP connection to a server.

    Args:
        port: of 127.0.0.1.
        source: the address that it comes from; all of 127.0.0.0/8 are this machine.
    """

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self._received = b""
        self._replies: list[Reply] = []
        self.closed = False
        self._socket = socket.create_connection(
            ("127.0.0.1", port), REPLY_SECONDS, source_address=(source, 0)
        )

    def send(self, data: bytes) -> bool:
        """Send all of it. False: the server has closed the connection meanwhile."""
        try:
            self._socket.sendall(data)
        except OSError:
            return False
        return True

    def replies(
        self, seconds: float = REPLY_SECONDS, at_least: int = 1, quiet: float = QUIET_SECONDS
    ) -> list[Reply]:
        """The responses so far.

        Read on until the server closes the connection, nothing has come for ``seconds``, or, once
        there are ``at_least`` so many, for ``quiet`` seconds.
        """
        while True:
            replies = self._parse()
            if self.closed:
                return replies
            self._socket.settimeout(quiet if len(replies) >= at_least else seconds)
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                return replies
            except OSError:
                data = b""
            self.closed = not data
            self._received += data

    def seconds_until_closed(self, at_most: float) -> float:
        """Wait until the server closes the connection; infinite if it does not."""
        started = time.monotonic()
        self.replies(at_most, at_least=1000)
        return time.monotonic() - started if self.closed else float("inf")

    def _parse(self) -> list[Reply]:
        """The complete responses so far; none of them is parsed again.

        Raises:
            AssertionError: what was received does not begin with a response.
        """
        stream = _Stream(self._received)
        end = 0
        # One that ends with the connection: more of it may be to come.
        unbounded: list[Reply] = []
        while self._received.find(b"\r\n\r\n", stream.tell()) >= 0:
            response = http.client.HTTPResponse(stream)  # type: ignore[arg-type]
            try:
                response.begin()
                bounded = response.chunked or response.length is not None
                body = response.read()
            except (http.client.IncompleteRead, http.client.RemoteDisconnected):
                break
            except http.client.BadStatusLine as error:
                raise AssertionError(f"this is no response: {self._received[:200]!r}") from error
            reply = Reply(response.status, response.headers, body)
            if not bounded:
                unbounded.append(reply)
                break
            self._replies.append(reply)
            end = stream.tell()
        self._received = self._received[end:]
        return [*self._replies, *unbounded]

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def post(body: bytes, path: str = "/txt2img", content_type: str = "application/json") -> bytes:
    """A plain POST request that asks the server to close the connection after its response."""
    return post_head(len(body), path, content_type) + body


def post_head(length: int, path: str = "/txt2img", content_type: str = "application/json") -> bytes:
    """The head of such a request, which announces a body of ``length`` bytes."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


class _Stream(BytesIO):
    """Bytes that several responses are read from, one after the other."""

    def makefile(self, _: str) -> Self:
        return self

    def close(self) -> None:
        """``HTTPResponse`` closes what it has read; here more may follow."""
