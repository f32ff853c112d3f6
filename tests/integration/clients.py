"""Clients that wait for a picture, or do not."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any, Protocol

import httpx

from tests.integration.server import WAIT_SECONDS

SHORT = {"prompt": "x", "num_inference_steps": 1}
LONG = {"prompt": "x", "num_inference_steps": 60, "width": 160, "height": 160}
ENDLESS = {**LONG, "num_inference_steps": 150, "width": 384, "height": 384}


class Site(Protocol):
    """A server of whatever kind.

    Attributes:
        port: where it listens on 127.0.0.1.
        url: the same, without a trailing slash.
    """

    port: int
    url: str


def read_events(response: httpx.Response) -> Iterator[tuple[str, Any]]:
    """The events of a stream, as they come."""
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


class Visitor:
    """A client that sends its request as slowly as it likes, and may leave early."""

    def __init__(self, server: Site, fields: dict[str, Any]) -> None:
        self._body = json.dumps(fields).encode()
        self._socket = socket.create_connection(("127.0.0.1", server.port), WAIT_SECONDS)
        length = len(self._body)
        head = (
            f"POST /txt2img HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {length}\r\n\r\n"
        )
        self._socket.sendall(head.encode())

    def ask(self) -> None:
        """Send the body."""
        self._socket.sendall(self._body)

    def status(self) -> int:
        """Wait for the response."""
        return int(self._socket.recv(100).split()[1])

    def leave(self) -> None:
        self._socket.close()


def post(server: Site, body: dict[str, Any]) -> httpx.Response:
    """Ask for a picture on a connection of its own."""
    with httpx.Client(base_url=server.url, timeout=WAIT_SECONDS) as client:
        return client.post("/txt2img", json=body)
