"""What a client with small pictures notices of another one: ``python -m benchmarks fairness``.

They have keys of their own. The small client asks for one picture after the other, the other one
for as much of one sort as it is given. The bar is a median of three times the time alone, and of
one and a half times beside a greedy client that keeps its part of the queue full of pictures of the
same size with five times the steps. That is told once more with requests beyond it, which are
refused and come again without regard to ``Retry-After``: they take processor time, but no passes.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from itertools import count, cycle
from statistics import median
from time import monotonic
from typing import Any, TypeAlias

import aiohttp
import PIL.Image

from api.keys.document import dump
from api.keys.key import new_key
from benchmarks.contestant import CONTESTANTS, Choice
from benchmarks.server import started
from settings.requests import RequestSettings

SMALL = {"prompt": "a red apple", "width": 64, "height": 64, "num_inference_steps": 10}
PLACES = RequestSettings().places_per_client  # of one client in the queue, by default
BAR = 3.0
GREEDY_BAR = 1.5
PAUSE = 0.5  # seconds after a refusal
HEAD_START = 4.0  # seconds that the load has before the small client comes
TIMEOUT = 300.0

Body: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Load:
    """What the other client asks for.

    Attributes:
        title: for people.
        clients: requests at a time.
        bodies: of its requests, given the pixels of the largest picture.
        task: the endpoint.
        bar: times as long as alone that the small client may take.
        priority: of the small client's key; that of the other one is 1.
    """

    title: str
    clients: int
    bodies: Callable[[int], Iterator[Body]]
    task: str = "txt2img"
    bar: float = BAR
    priority: int = 1


def _sizes(_: int) -> Iterator[Body]:
    sizes = [(64 + 8 * column, 64 + 8 * row) for row in range(8) for column in range(8)][:60]
    for width, height in cycle(sizes):
        yield {"prompt": "a blue car", "width": width, "height": height}


def _large_sizes(most: int) -> Iterator[Body]:
    side = _side(most)
    for index in cycle(range(60)):
        size = {"width": side - 8 * (index % 8), "height": side - 8 * (index // 8)}
        yield {"prompt": "a blue car", "num_inference_steps": 5, **size}


def _batches(_: int) -> Iterator[Body]:
    while True:
        yield {**SMALL, "prompt": "a blue car", "num_inference_steps": 50, "num_images": 8}


def _greedy(_: int) -> Iterator[Body]:
    while True:
        yield {**SMALL, "prompt": "a blue car", "num_inference_steps": 50}


def _largest(most: int) -> Iterator[Body]:
    while True:
        side = _side(most)
        yield {"prompt": "a blue car", "width": side, "height": side, "num_inference_steps": 150}


def _img2img(most: int) -> Iterator[Body]:
    while True:
        side = _side(most)
        size = {"width": side, "height": side}
        yield {"prompt": "a blue car", "num_inference_steps": 10, "strength": 0.1, **size}


def _side(pixels: int) -> int:
    return int(pixels**0.5) // 8 * 8


LOADS = (
    Load("60 pictures of 60 small sizes", 60, _sizes),
    Load("60 pictures of 60 of the largest sizes", 60, _large_sizes),
    Load("8 requests for 8 pictures of the same size", 8, _batches),
    Load("a full queue of the same size, 50 steps", PLACES, _greedy, bar=GREEDY_BAR),
    Load("the same, against a priority of 4", PLACES, _greedy, bar=GREEDY_BAR, priority=4),
    Load("a full queue, and a quarter more that are refused", PLACES * 5 // 4, _greedy),
    Load("8 of the largest size, 150 steps", 8, _largest),
    Load("8 of the largest size, img2img of one step", 8, _img2img, "img2img"),
)


def compare(pictures: int) -> int:
    """Print the medians alone and beside each load; returns the exit status."""
    small = {
        load.priority: new_key(f"small-{load.priority}", priority=load.priority) for load in LOADS
    }
    other, stored = new_key("other")
    settings = {"SD_API_KEYS": dump([stored, *(key for _, key in small.values())])}
    with started(CONTESTANTS["ours"], Choice(), settings=settings) as server:
        texts = {priority: text for priority, (text, _) in small.items()}
        return asyncio.run(_compare(server.url, pictures, texts, other))


async def _compare(url: str, pictures: int, small_keys: Mapping[int, str], other_key: str) -> int:
    async with AsyncExitStack() as stack:
        smalls = {
            priority: await stack.enter_async_context(_client(key))
            for priority, key in small_keys.items()
        }
        other = await stack.enter_async_context(_client(other_key))
        async with other.get(f"{url}/models") as response:
            models = await response.json()
        most = models["models"][0]["max_pixels"]
        print(f"largest picture: {most} pixels, {_side(most)} x {_side(most)}", flush=True)
        await _times(smalls[1], url, 5)
        held = []
        for load in LOADS:
            small = smalls[load.priority]
            alone = median(await _times(small, url, pictures))
            outcomes: Counter[int] = Counter()
            async with _beside(other, url, load, most, outcomes):
                await asyncio.sleep(HEAD_START)
                times = await _times(small, url, pictures)
            beside = median(times)
            ratio = beside / alone
            held.append(ratio <= load.bar)
            print(
                f"{load.title}: {alone:.3f} s alone, {beside:.3f} s beside "
                f"({max(times):.3f} at most), {ratio:.2f} times (bar: {load.bar:g}); the other's "
                f"answers: {dict(outcomes)}",
                flush=True,
            )
            await _quiet(small, url)
    return 0 if all(held) else 1


def _client(key: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT),
        headers={"X-API-Key": key},
    )


async def _times(session: aiohttp.ClientSession, url: str, pictures: int) -> list[float]:
    """Seconds that each of so many small pictures took, one after the other."""
    times = []
    for seed in range(pictures):
        begun = monotonic()
        async with session.post(f"{url}/txt2img", json={**SMALL, "seed": seed}) as response:
            response.raise_for_status()
            await response.read()
        times.append(monotonic() - begun)
    return times


@asynccontextmanager
async def _beside(
    session: aiohttp.ClientSession, url: str, load: Load, most: int, outcomes: Counter[int]
) -> AsyncIterator[None]:
    """Keep the load up during the block."""
    bodies = load.bodies(most)
    picture = BytesIO()
    PIL.Image.new("RGB", (_side(most),) * 2, "grey").save(picture, "PNG")
    seeds = count()

    async def client() -> None:
        while True:
            body = {**next(bodies), "seed": next(seeds)}
            content: dict[str, Any] = {"json": body}
            if load.task == "img2img":
                form = aiohttp.FormData()
                form.add_field("img", picture.getvalue(), filename="in.png")
                form.add_field("data", json.dumps(body), content_type="application/json")
                content = {"data": form}
            async with session.post(f"{url}/{load.task}", **content) as response:
                outcomes[response.status] += 1
                await response.read()
                if response.status not in (200, 429):
                    raise RuntimeError(f"{load.title}: {response.status} {await response.text()}")
            if response.status == 429:
                await asyncio.sleep(PAUSE)

    tasks = [asyncio.create_task(client()) for _ in range(load.clients)]
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)


async def _quiet(session: aiohttp.ClientSession, url: str) -> None:
    """Wait until what the load has left is forgotten."""
    for _ in range(2):
        await _times(session, url, 2)
        await asyncio.sleep(1.0)
