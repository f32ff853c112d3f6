"""The measurement with one client at a time: bare diffusers, the engine, the service over HTTP.

The same pictures are made the three ways in turn, so that whatever happens to the machine happens
to all three. The loop and the engine are processes of their own (``python -m benchmarks.solo WAY``
makes the pictures whose numbers come on its standard input, and says how many seconds each took).
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import aiohttp
import PIL.Image

from benchmarks.contestant import CONTESTANTS, ROOT, Choice, Contestant
from benchmarks.server import environment, started, stop
from benchmarks.workloads import WORKLOADS, Request

SEED = 7
WARM_UP = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Solo:
    """Medians in seconds, and medians of the ratios picture by picture.

    Attributes:
        engine: ratio of the engine to the loop; ``http`` likewise.
    """

    pictures: int
    loop_seconds: float
    engine_seconds: float
    http_seconds: float
    engine: float
    http: float


class _Way:
    """A process that makes pictures when asked to."""

    def __init__(self, name: str, variables: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.solo", name],
            cwd=ROOT,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def generate(self, number: int) -> float:
        """Make a picture; returns the seconds it took."""
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("the process has no pipes")
        self.process.stdin.write(f"{number}\n".encode())
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("a process that makes pictures has ended; its errors are above")
        return float(json.loads(answer))


def compare(count: int, device: str, choice: Choice) -> Solo:
    """Make ``count`` pictures of the uniform workload each way.

    Args:
        choice: what suits the loop.
    """
    loop, ours = CONTESTANTS["diffusers_loop"], CONTESTANTS["ours"]
    with TemporaryDirectory(prefix="bench-") as name, started(ours, choice, device) as server:
        folder = Path(name)

        def way(name: str, contestant: Contestant) -> _Way:
            return _Way(name, environment(contestant, choice, folder, device))

        ways = {"loop": way("loop", loop), "engine": way("engine", ours)}
        try:
            return _interleave(count, ways, server.url)
        finally:
            for each in ways.values():
                stop(each.process)


def _interleave(count: int, ways: dict[str, _Way], url: str) -> Solo:
    seconds: dict[str, list[float]] = {"loop": [], "engine": [], "http": []}
    for request in islice(WORKLOADS["uniform"].requests(SEED), count + WARM_UP):
        for name in _turned(list(seconds), request.number):
            if name == "http":
                took = asyncio.run(over_http(url, request))
            else:
                took = ways[name].generate(request.number)
            if request.number >= WARM_UP:
                seconds[name].append(took)

    def ratio(name: str) -> float:
        pairs = zip(seconds[name], seconds["loop"], strict=True)
        return round(median(own / bare for own, bare in pairs), 4)

    return Solo(
        pictures=count,
        loop_seconds=round(median(seconds["loop"]), 4),
        engine_seconds=round(median(seconds["engine"]), 4),
        http_seconds=round(median(seconds["http"]), 4),
        engine=ratio("engine"),
        http=ratio("http"),
    )


def _turned(names: list[str], by: int) -> list[str]:
    by %= len(names)
    return names[by:] + names[:by]


async def over_http(url: str, request: Request) -> float:
    """Ask a server for a picture; returns the seconds it took."""
    async with aiohttp.ClientSession() as session:
        began = perf_counter()
        async with session.post(f"{url}/txt2img", json=request.body()) as response:
            body = await response.read()
        took = perf_counter() - began
    if response.status != 200:
        raise RuntimeError(f"{response.status}: {body[:200]!r}")
    PIL.Image.open(BytesIO(body)).load()
    return took


def _loop() -> Callable[[Request], object]:
    from benchmarks.contestants.diffusers_loop import draw
    from benchmarks.contestants.stock import Stock

    stock = Stock.from_environment()
    return lambda request: draw(stock, request)


def _engine() -> Callable[[Request], object]:
    from benchmarks.embedded import build
    from engine.blocking import generate

    engine = build()
    return lambda request: generate(engine, request.generation_request())


def main() -> None:
    """Make pictures until the standard input ends."""
    generate = {"loop": _loop, "engine": _engine}[sys.argv[1]]()
    for line in sys.stdin:
        (request,) = islice(WORKLOADS["uniform"].requests(SEED), int(line), int(line) + 1)
        began = perf_counter()
        generate(request)
        print(json.dumps(perf_counter() - began), flush=True)


if __name__ == "__main__":
    main()
