"""The hosts of this service, compared: what Ray costs each request, and what it does under load.

``python -m benchmarks hosts`` starts both in turns, and Ray's own batching, round by round: an idle
cluster of Ray takes time from whoever is asked, where there are few cores. It prints the figures
and their bars, and writes nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
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
# Nothing is measured inside. So Ray hands its measurements on as seldom as it does for the rival.
_ON_RAY = replace(CONTESTANTS["ours_on_ray"], environment={})
SERVERS = {**CONTESTANTS, "ours_on_ray": _ON_RAY}
CLIENTS = 16


def compare(pictures: int, seconds: float, rounds: int, device: str) -> dict[str, object]:
    """Both hosts with one client, and all three with 16.

    Args:
        pictures: of one step, which each host makes in a round with one client: a host's part of a
            request does not depend on the steps, and shows best beside few.
        seconds: of a round with 16 clients.
        rounds: of each server.
        device: cpu or cuda.

    Returns:
        Milliseconds of a picture and pictures a second (medians), and the bars.

    Raises:
        StartFailed, RoundFailed: a server does not work.
    """
    choices = load()["choices"]
    alone: dict[str, list[float]] = {name: [] for name in HOSTS}
    together: dict[str, list[float]] = {name: [] for name in UNDER_LOAD}
    for number in range(rounds):
        for name in _turned(UNDER_LOAD, number):
            with started(SERVERS[name], Choice(**choices.get(name, {})), device) as server:
                warm_up(server, SINGLE)
                if name in HOSTS:
                    alone[name] += _short_pictures(server, pictures)
                together[name].append(_goodput(server, seconds, seed=number + 1))
    own, ray = (median(alone[name]) for name in HOSTS)
    goodput = {name: median(together[name]) for name in UNDER_LOAD}
    return {
        "one client, ms": {name: round(1000 * median(alone[name]), 1) for name in HOSTS},
        "16 clients, pictures/s": {name: round(value, 2) for name, value in goodput.items()},
        "bars": [bar.to_json() for bar in host_bars(1000 * (ray - own), goodput)],
    }


def _turned(names: tuple[str, ...], by: int) -> tuple[str, ...]:
    by %= len(names)
    return names[by:] + names[:by]


def _short_pictures(server: Server, count: int) -> list[float]:
    """Seconds that pictures take, one after the other."""
    requests = islice(WORKLOADS["uniform"].requests(SEED), count)
    return [asyncio.run(over_http(server.url, replace(request, steps=1))) for request in requests]


def _goodput(server: Server, seconds: float, seed: int) -> float:
    """Pictures a second of the mixed workload."""
    plan = Plan(url=server.url, workload="mixed", seconds=seconds, seed=seed, clients=CLIENTS)
    log = carry_out("benchmarks.load", plan)
    return sum(record.outcome is Outcome.PICTURE for record in log.records) / seconds
