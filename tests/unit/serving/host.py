"""A small application on uvicorn with our options, and clients of it, over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from serving.http_server import uvicorn_options
from settings import Settings

SECONDS = 30.0
"""More than anything here takes; a loaded machine may need long."""
HELLO = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
WAIT = b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = 32 * 1024**2


class Host:
    """A running server.

    Attributes:
        port: where it listens.
        waiting: requests for ``/wait`` that are in flight.
        released: set it, in the server's loop, to have them answered.
        left: clients of ``/length`` that left before their body was read.
    """

    def __init__(self, settings: Settings) -> None:
        self.waiting = 0
        self.left = 0
        self.released = asyncio.Event()
        app = Starlette(
            routes=[
                Route("/hello", self._hello),
                Route("/livez", self._hello),
                Route("/wait", self._wait),
                Route("/large", self._large),
                Route("/length", self._length, methods=["POST"]),
                Route("/refuse", self._refuse, methods=["POST"]),
            ]
        )
        config = uvicorn.Config(app, log_config=None, **uvicorn_options(settings))
        self._server = uvicorn.Server(config)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],))
        self._thread.start()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._server.server_state.connections)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), SECONDS)

    def ask(self, request: bytes = HELLO) -> tuple[int, dict[str, str], bytes]:
        """Send something on a connection of its own."""
        with self.connect() as client:
            client.sendall(request)
            return answer(client)

    def release(self) -> None:
        """Answer those that wait."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self.released.set)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()

    _loop: asyncio.AbstractEventLoop | None = None

    async def _hello(self, request: Request) -> Response:
        return PlainTextResponse("hello")

    async def _wait(self, request: Request) -> Response:
        self._loop = asyncio.get_running_loop()
        self.waiting += 1
        await self.released.wait()
        self.waiting -= 1
        return PlainTextResponse("waited")

    async def _large(self, request: Request) -> Response:
        return Response(bytes(LARGE))

    async def _length(self, request: Request) -> Response:
        try:
            return PlainTextResponse(str(len(await request.body())))
        except ClientDisconnect:
            self.left += 1
            raise

    async def _refuse(self, request: Request) -> Response:
        headers = {"Connection": "close"} if "close" in request.query_params else {}
        return PlainTextResponse("too large", 413, headers)


@contextmanager
def running(**settings: Any) -> Iterator[Host]:
    """A server with these settings."""
    host = Host(Settings(**settings))
    try:
        until(lambda: host._server.started, "the server to listen")
        yield host
    finally:
        host.stop()


def until(condition: Callable[[], Any], what: str) -> None:
    """Poll until it is true."""
    give_up = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < give_up, f"waited in vain for {what}"
        time.sleep(0.01)


def answer(client: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """The next response with a Content-Length: its status, headers and body."""
    # Unbuffered: what follows the response is another one's.
    with client.makefile("rb", buffering=0) as stream:
        status = int(stream.readline().split()[1])
        headers: dict[str, str] = {}
        while line := stream.readline().strip().decode():
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        body = b""
        while len(body) < int(headers["content-length"]):
            chunk = stream.read(int(headers["content-length"]) - len(body))
            assert chunk, "the response has ended early"
            body += chunk
        return status, headers, body


def error(body: bytes) -> dict[str, str]:
    """What a native error body says."""
    detail = json.loads(body)["error"]
    assert isinstance(detail, dict)
    return detail


def closed(client: socket.socket) -> bool:
    """Wait for the server to close the connection; False if it sends something instead."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True
