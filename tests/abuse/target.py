"""A server to be abused: small limits, its processes' memory, and whether it is well."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from io import BytesIO
from typing import Any, Final

import httpx
import PIL.Image
import psutil

from tests import uploads
from tests.abuse.raw_http import Connection, post_head
from tests.effort import effort
from tests.integration.server import WAIT_SECONDS, Server, wait_until

QUEUE: Final = 16
MAX_SIDE: Final = 128
# Room is left for those of the tests themselves.
CONNECTIONS: Final = 950
# At least as many as a picture has by default.
MAX_STEPS: Final = effort(20, 60)
# Limits of time, short enough to wait for.
HEAD_SECONDS: Final = 3
BODY_IDLE: Final = 3
KEEP_ALIVE_SECONDS: Final = 4
DECODE_SECONDS: Final = 2
DRAIN: Final = 300
# Another client than the one at 127.0.0.1: all of 127.0.0.0/8 are this machine.
OTHER: Final = "127.0.0.2"

SHORT: Final[dict[str, Any]] = {"prompt": "x", "num_inference_steps": 1, "seed": 1}
# Work for a client that waits, or leaves: some seconds of it where there are several.
LONG: Final[dict[str, Any]] = {
    "prompt": "x",
    "num_inference_steps": effort(8, 60),
    "seed": 1,
    "width": MAX_SIDE,
    "height": MAX_SIDE,
}
PICTURE: Final = uploads.encode(uploads.red_and_blue())

# Of the memory after the warm-up, which is as large as what is allowed makes it.
_GROWTH: Final = 1.2
# Of the two decoders: less is only that of processes which have just replaced others.
_USED_DECODERS: Final = 60_000_000

SETTINGS: Final[dict[str, str]] = {
    "SD_MAX_QUEUE": str(QUEUE),
    "SD_MAX_IMAGES": "2",
    "SD_MAX_STEPS": str(MAX_STEPS),
    "SD_MAX_SIDE": str(MAX_SIDE),
    "SD_MAX_PIXELS": str(MAX_SIDE**2),
    # The other cores are for its clients: threads that wait for one another wait long beside them.
    "SD_THREADS": "1",
    "SD_DEADLINE": "240",
    "SD_HEAD_SECONDS": str(HEAD_SECONDS),
    "SD_BODY_IDLE_SECONDS": str(BODY_IDLE),
    "SD_KEEP_ALIVE_SECONDS": str(KEEP_ALIVE_SECONDS),
    "SD_DECODE_SECONDS": str(DECODE_SECONDS),
    # Far longer than any work in flight takes.
    "SD_DRAIN": str(DRAIN),
}


class Target:
    """A running server.

    Args:
        server: that is ready.

    Attributes:
        settled: resident bytes of its processes after the warm-up, by name.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.port = server.port
        if server.host == "bentoml":
            self.processes = {"API": self._api(), "runner": server.runner()}
        else:
            self.processes = {"API": psutil.Process(server.process.pid)}
        self.settled: dict[str, int] = {}

    def _api(self) -> psutil.Process:
        (api,) = [
            child
            for child in psutil.Process(self.server.process.pid).children(recursive=True)
            if any("http_api_server" in part for part in child.cmdline())
        ]
        return api

    def resident(self) -> dict[str, int]:
        """Bytes in memory of the API, of the processes that decode for it, and of the runner, which
        the local host has not."""
        decoders = self.processes["API"].children(recursive=True)
        return {name: _resident([process]) for name, process in self.processes.items()} | {
            "decoders": _resident(decoders)
        }

    def assert_memory_is_given_back(self) -> None:
        """Wait until no process has more than a fifth more of it than after the warm-up."""
        self.assert_idle()
        found: dict[str, str] = {}
        decoders = max(_USED_DECODERS, self.settled["decoders"])
        allowed = self.settled | {"decoders": decoders}

        def settled() -> bool:
            resident = self.resident()
            found.update(
                {
                    name: f"{self.settled[name] / 1e6:.0f} MB, then {now / 1e6:.0f} MB"
                    for name, now in resident.items()
                }
            )
            return all(now <= _GROWTH * allowed[name] for name, now in resident.items())

        try:
            # It may take a moment: processes that end, buffers of closed sockets.
            wait_until(settled, "memory to be given back", 20)
        except AssertionError as error:
            raise AssertionError(f"{error}: {found}") from error

    def assert_no_fault_in_log(self) -> None:
        log = self.server.log.read_text(errors="replace")

        assert "Traceback" not in log
        assert "internal error" not in log
        # About as much as its requests, not as their bytes.
        assert len(log) < 20_000_000

    def client(self, source: str = "127.0.0.1") -> httpx.Client:
        """A client with connections of its own, from that address."""
        # Without TLS, whose certificates take longer to load than most requests here.
        transport = httpx.HTTPTransport(local_address=source, verify=False)
        return httpx.Client(base_url=self.server.url, transport=transport, timeout=WAIT_SECONDS)

    def post(
        self, fields: dict[str, Any], source: str = "127.0.0.1", **headers: str
    ) -> httpx.Response:
        """Ask for a picture on a connection of its own."""
        with self.client(source) as client:
            return client.post("/txt2img", json=fields, headers=headers)

    def post_picture(
        self,
        picture: bytes,
        path: str = "/img2img",
        source: str = "127.0.0.1",
    ) -> httpx.Response:
        """Upload a picture to any endpoint that takes one."""
        files: dict[str, Any] = {"img": ("p", picture)}
        if path != "/classify":
            # One step that ignores the picture: what is tried is its way in.
            files["data"] = (None, b'{"prompt":"x","num_inference_steps":1,"strength":1,"seed":1}')
        if path == "/inpaint":
            files |= {"img": ("p", PICTURE), "mask": ("m", picture)}
        with self.client(source) as client:
            return client.post(path, files=files)

    def jobs(self) -> float:
        """Jobs that wait or run."""
        return self.server.metric("sd_queue_depth")

    def assert_idle(self) -> None:
        """Wait until nobody is served, by every gauge that says so."""
        wait_until(lambda: not self.jobs(), "an empty queue")
        # The request for the metrics is in progress itself.
        wait_until(
            lambda: (
                self.server.metric("bentoml_api_server_request_in_progress") <= 1
                and not self.server.metric("bentoml_runner_request_in_progress")
            ),
            "no request in progress",
        )

    def assert_alive(self) -> None:
        """It answers, and its processes are those of the start."""
        # On a connection of its own: a kept one may be closed for its idleness just then.
        with self.client() as client:
            assert client.get("/livez").status_code == 200
        assert all(process.is_running() for process in self.processes.values())

    def assert_makes_pictures(self) -> None:
        response = self.post(SHORT)
        assert response.status_code == 200, response.text
        assert decoded(response.content).size == (64, 64)


def decoded(data: bytes) -> PIL.Image.Image:
    """A picture that the server made, whole."""
    picture = PIL.Image.open(BytesIO(data))
    picture.load()
    return picture


def at_once(calls: Sequence[Callable[[], httpx.Response]]) -> list[httpx.Response]:
    """Make all these calls side by side."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(lambda call: call(), calls))


def attack_meanwhile(target: Target, requests: Sequence[bytes]) -> tuple[list[int], float]:
    """Send raw requests of another client at once, and ask for something small until all of them
    are answered.

    Returns:
        The statuses of the responses, and the longest time in seconds that the small one took.
    """
    statuses: list[int] = []

    def attack(request: bytes) -> None:
        with Connection(target.port, OTHER) as connection:
            connection.send(request)
            statuses.extend(reply.status for reply in connection.replies(120))

    attackers = [threading.Thread(target=attack, args=(request,)) for request in requests]
    for attacker in attackers:
        attacker.start()
    longest = 0.0
    while any(attacker.is_alive() for attacker in attackers):
        started = time.monotonic()
        assert target.server.client.get("/livez").status_code == 200
        longest = max(longest, time.monotonic() - started)
    for attacker in attackers:
        attacker.join()
    return statuses, longest


def warm_up(target: Target, connections: int = CONNECTIONS) -> None:
    """Make the memory as large as what is allowed makes it, and note that.

    All but the sizes twice: the second time it no longer grows by what libraries keep from their
    first use. The connections, as many as tests hold at once, come between, as what they leave is
    taken by what follows.
    """
    large = uploads.encode(PIL.Image.new("RGB", (4000, 4000), uploads.RED))
    # As long as a body may be.
    heavy = large + bytes(11 * 1024 * 1024)
    batch = LONG | {"num_inference_steps": 2}
    sizes = [
        batch | {"width": width, "height": height}
        for width in range(64, MAX_SIDE + 1, 16)
        for height in (64, 96, MAX_SIDE)
    ]
    allowed = [
        *[partial(target.post, SHORT | {"num_images": 2})] * QUEUE,
        *[partial(target.post, batch)] * (QUEUE // 2),
        *[partial(target.post, batch, OTHER)] * (QUEUE // 2),
        *[partial(target.post_picture, heavy, "/img2img")] * 2,
        *[partial(target.post_picture, heavy, "/classify", OTHER)] * 2,
        *[partial(target.post_picture, PICTURE, "/classify")] * 32,
        *[partial(target.post, SHORT, OTHER, Accept="text/event-stream")] * 4,
    ]
    answers = at_once([*[partial(target.post, size) for size in sizes], *allowed])
    # A busy machine may refuse some, which took it too long.
    assert not [answer for answer in answers if answer.status_code == 413]
    _busy_connections(target, connections)
    at_once(allowed)
    for path in ("/docs.json", "/models", "/metrics", "/"):
        target.server.client.get(path)
    target.assert_idle()
    target.settled = target.resident()


def _busy_connections(target: Target, connections: int) -> None:
    """Hold connections with a request under way, of two clients."""
    with ExitStack() as stack:
        for number in range(connections):
            # One address may have three quarters of them.
            source = OTHER if number % 4 else "127.0.0.1"
            connection = stack.enter_context(Connection(target.port, source))
            connection.send(post_head(100) + b"{")


def _resident(processes: Sequence[psutil.Process]) -> int:
    return sum(process.memory_info().rss for process in processes)
