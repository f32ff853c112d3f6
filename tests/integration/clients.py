"""Clients that wait for a picture, or do not."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any, Protocol

import httpx

from tests.integration.server import WAIT_SECONDS, Server, wait_until

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


def change_models(server: Server) -> None:
    """Have the embedded model leave the memory and come back, and look what clients see of it."""
    ask, ready = server.client.post, "/v2/models/embedded/ready"
    unloaded = ask("/v2/repository/models/embedded/unload")
    assert unloaded.json() == {"name": "embedded", "unload": True}
    wait_until(lambda: not server.metric("sd_model_resident", model="embedded"), "it to leave")
    refused = post(server, SHORT)
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")
    assert refused.json()["error"]["message"].startswith("embedded is unloaded")
    assert server.client.get(ready).status_code == 404
    assert server.client.get("/readyz").status_code == 200
    index = ask("/v2/repository/index").json()
    assert index[0] | {"version": "1"} == {
        "name": "embedded",
        "version": "1",
        "state": "UNAVAILABLE",
        "reason": "unloaded",
    }

    loaded = ask("/v2/repository/models/embedded/load")
    assert loaded.json() == {"name": "embedded", "load": True}
    assert server.client.get(ready).status_code == 200
    assert server.metric("sd_model_resident", model="embedded") == 1
    assert post(server, SHORT).status_code == 200
    assert ask("/v2/repository/models/classifier/unload").status_code == 400
