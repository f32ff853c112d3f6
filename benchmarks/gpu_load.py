"""Load on something that makes a picture in each call, from threads of this process."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter

from benchmarks.workloads import Request

Draw = Callable[[Request], object]
WAITING = 512  # requests of the open loop that may wait at once


def closed_loop(draw: Draw, requests: Sequence[Request], clients: int) -> float:
    """Pictures per second of clients who each ask for the next picture when they have one; each has
    had one before, to warm up."""
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(draw, requests[:clients]))
        began = perf_counter()
        list(pool.map(draw, requests))
        return len(requests) / (perf_counter() - began)


def all_at_once(draw: Draw, requests: Sequence[Request]) -> float:
    """Pictures per second where all are asked for at the start, as in MLPerf's scenario Offline."""
    with ThreadPoolExecutor(len(requests)) as pool:
        began = perf_counter()
        list(pool.map(draw, requests))
        return len(requests) / (perf_counter() - began)


def poisson(
    draw: Draw, request: Callable[[int], Request], *, rate: float, seconds: float, seed: int = 1
) -> list[float]:
    """The latencies, in seconds, of clients who come at random, as in MLPerf's scenario Server.

    Args:
        request: the one with a number.
        rate: of a Poisson process, per second.
        seconds: how long they come; at least one does.
    """
    dice = random.Random(seed)  # noqa: S311
    start = perf_counter()

    def serve(number: int, arrival: float) -> float:
        draw(request(number))
        return perf_counter() - start - arrival

    with ThreadPoolExecutor(WAITING) as pool:
        answers: list[Future[float]] = []
        arrival = 0.0
        while not answers or arrival < seconds:
            time.sleep(max(0.0, start + arrival - perf_counter()))
            answers.append(pool.submit(serve, len(answers), arrival))
            arrival += dice.expovariate(rate)
        return [answer.result() for answer in answers]
