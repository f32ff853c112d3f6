"""The hosts of this service, compared: what Ray costs each request, and what it does under load.

``python -m benchmarks hosts`` starts both, and Ray's own batching beside them, and asks them in
turns, so that whatever else the machine does hits all. It prints the figures and their bars, and
writes nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from itertools import islice
from statistics import median

from benchmarks.bars import RIVAL_ON_RAY, host_bars
from benchmarks.contestant import CONTESTANTS, Choice
from benchmarks.load import Outcome, Plan
from benchmarks.rounds import carry_out, warm_up
from benchmarks.server import Server, started
from benchmarks.solo import SEED, over_http
from benchmarks.tuning import load
from benchmarks.workloads import SINGLE, WORKLOADS

HOSTS = ("ours", "ours_on_ray")
UNDER_LOAD = (*HOSTS, RIVAL_ON_RAY)
CLIENTS = 16


def compare(pictures: int, seconds: float, rounds: int, device: str) -> dict[str, object]:
    """Both hosts with one client, picture by picture, and all three with 16, round by round.

    Args:
        pictures: of each host with one client.
        seconds: of a round with 16 clients.
        rounds: of each server.
        device: cpu or cuda.

    Returns:
        Milliseconds of a picture and pictures a second (medians), and the bars.

    Raises:
        StartFailed, RoundFailed: a server does not work.
    """
    choices = load()["choices"]
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(
                started(CONTESTANTS[name], Choice(**choices.get(name, {})), device)
            )
            for name in UNDER_LOAD
        }
        for server in servers.values():
            warm_up(server, SINGLE)
        alone: dict[str, list[float]] = {name: [] for name in HOSTS}
        for request in islice(WORKLOADS["uniform"].requests(SEED), pictures):
            for name in _turned(HOSTS, request.number):
                alone[name].append(asyncio.run(over_http(servers[name].url, request)))
        together: dict[str, list[float]] = {name: [] for name in UNDER_LOAD}
        for number in range(rounds):
            for name in _turned(UNDER_LOAD, number):
                together[name].append(_goodput(servers[name], seconds, seed=number + 1))
    more = median(ray - own for own, ray in zip(*alone.values(), strict=True))
    goodput = {name: median(together[name]) for name in UNDER_LOAD}
    return {
        "one client, ms": {name: round(1000 * median(alone[name]), 1) for name in HOSTS},
        "16 clients, pictures/s": {name: round(value, 2) for name, value in goodput.items()},
        "bars": [bar.to_json() for bar in host_bars(1000 * more, goodput)],
    }


def _turned(names: tuple[str, ...], by: int) -> tuple[str, ...]:
    by %= len(names)
    return names[by:] + names[:by]


def _goodput(server: Server, seconds: float, seed: int) -> float:
    """Pictures a second of the mixed workload."""
    plan = Plan(url=server.url, workload="mixed", seconds=seconds, seed=seed, clients=CLIENTS)
    log = carry_out("benchmarks.load", plan)
    return sum(record.outcome is Outcome.PICTURE for record in log.records) / seconds
