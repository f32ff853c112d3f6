"""The hosts of this service, compared: what Ray costs each request, and what it does under load.

``python -m benchmarks hosts`` starts both and asks them in turns, so that whatever else the machine
does hits both. It prints the figures, and writes nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from itertools import islice
from statistics import median

from benchmarks.contestant import CONTESTANTS, Choice, Server, started
from benchmarks.load import Outcome, Plan
from benchmarks.rounds import carry_out, warm_up
from benchmarks.solo import SEED, over_http
from benchmarks.workloads import SINGLE, WORKLOADS

HOSTS = ("ours", "ours_on_ray")
CLIENTS = 16


def compare(pictures: int, seconds: float, rounds: int, device: str) -> dict[str, object]:
    """Both hosts with one client, picture by picture, and with 16, round by round.

    Args:
        pictures: of each host with one client.
        seconds: of a round with 16 clients.
        rounds: of each host.
        device: cpu or cuda.

    Returns:
        Milliseconds of a picture (median), and pictures a second (median of the rounds), by host.

    Raises:
        StartFailed, RoundFailed: a host does not work.
    """
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(started(CONTESTANTS[name], Choice(), device))
            for name in HOSTS
        }
        for server in servers.values():
            warm_up(server, SINGLE)
        alone: dict[str, list[float]] = {name: [] for name in HOSTS}
        for request in islice(WORKLOADS["uniform"].requests(SEED), pictures):
            for name in _turned(request.number):
                alone[name].append(asyncio.run(over_http(servers[name].url, request)))
        together: dict[str, list[float]] = {name: [] for name in HOSTS}
        for number in range(rounds):
            for name in _turned(number):
                together[name].append(_goodput(servers[name], seconds, seed=number + 1))
    return {
        "one client, ms": {name: round(1000 * median(alone[name]), 1) for name in HOSTS},
        "one client, ms more on Ray": round(
            1000 * median(ray - own for own, ray in zip(*alone.values(), strict=True)), 1
        ),
        "16 clients, pictures/s": {name: round(median(together[name]), 2) for name in HOSTS},
    }


def _turned(number: int) -> tuple[str, ...]:
    return HOSTS if number % 2 else HOSTS[::-1]


def _goodput(server: Server, seconds: float, seed: int) -> float:
    """Pictures a second of the mixed workload."""
    plan = Plan(url=server.url, workload="mixed", seconds=seconds, seed=seed, clients=CLIENTS)
    log = carry_out("benchmarks.load", plan)
    return sum(record.outcome is Outcome.PICTURE for record in log.records) / seconds
