"""Chaos: predictions under load, while the processes that accept and run them are killed.

Every prediction that was accepted must end, once, with the picture that its request gives alone.
"""

from __future__ import annotations

import argparse
import io
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import numpy.typing as npt
import PIL.Image

from benchmarks.killed import PATIENCE, TARGETS, Service, until
from benchmarks.postgresql import PostgreSQL

_OVER: Final = ("succeeded", "failed", "canceled")
_DATABASE: Final = "postgresql"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done.

    Attributes:
        host: ``bentoml``, with processes of its own for engine and API, or ``local``.
        requests: different ones among the predictions.
        predictions: the least; more are ordered until the last kill.
        pause: seconds between two kills, the shortest and the longest.
        interval: seconds that each client lets pass between two orders.
        store: ``SD_STORE``; None for SQLite in a temporary folder.
        postgresql: whether it is a PostgreSQL server of its own instead, which is killed as well.
        outage: seconds that such a server is away, at most; a request waits for it for 5.
    """

    host: str = "bentoml"
    predictions: int = 200
    requests: int = 20
    kills: int = 10
    pause: tuple[float, float] = (4.0, 15.0)
    clients: int = 4
    interval: float = 1.5
    store: str | None = None
    postgresql: bool = False
    outage: float = 8.0
    seed: int = 1

    @property
    def targets(self) -> tuple[str, ...]:
        """What is killed, in turns."""
        return (*TARGETS[self.host], *((_DATABASE,) if self.postgresql else ()))


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    kills: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    repeated: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    identical: int = 0
    changed: int = 0
    seconds: float = 0.0
    waits: list[float] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """Whether nothing was lost, wrong, or delivered twice."""
        everything = self.statuses["succeeded"] == self.accepted == self.identical
        return everything and not self.changed

    def table(self) -> str:
        """For the docs."""
        kills = ", ".join(f"{count} {name}" for name, count in sorted(self.kills.items()))
        attempts = ", ".join(
            f"{count} x {number}" for number, count in sorted(self.attempts.items())
        )
        rows = [
            ("kill -9", f"{self.kills.total()} ({kills})"),
            ("accepted predictions", self.accepted),
            ("sent again by the client, as no answer came", self.repeated),
            ("ended", ", ".join(f"{count} {name}" for name, count in self.statuses.items())),
            ("with the picture of the request alone, bit for bit", self.identical),
            ("that changed after their end", self.changed),
            ("predictions by number of attempts (count x attempts)", attempts),
            ("seconds from acceptance to end, median", f"{statistics.median(self.waits):.1f}"),
            ("seconds from acceptance to end, longest", f"{max(self.waits):.1f}"),
            ("seconds in all", f"{self.seconds:.0f}"),
        ]
        return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def run(plan: Plan) -> Outcome:
    """Do all of it."""
    folder = Path(tempfile.mkdtemp(prefix="sd-chaos-"))
    outcome, chance = Outcome(), random.Random(plan.seed)  # noqa: S311
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        database, store = None, plan.store
        if plan.postgresql:
            database = PostgreSQL()
            stack.callback(database.close)
            store = database.create("chaos")
        service = Service(plan.host, store, folder)
        stack.callback(service.stop)
        try:
            _measure(service, database, plan, outcome, chance)
        except BaseException:
            sys.stderr.write((folder / "log").read_text(errors="replace")[-5000:])
            raise
    return outcome


def _measure(
    service: Service,
    database: PostgreSQL | None,
    plan: Plan,
    outcome: Outcome,
    chance: random.Random,
) -> None:
    began, killed = time.monotonic(), threading.Event()
    kill = partial(_kill, service, database, plan, outcome, chance, killed)
    with ThreadPoolExecutor(1) as killers:
        killer = killers.submit(kill)
        try:
            with ThreadPoolExecutor(plan.clients) as pool:
                clients = [
                    pool.submit(_client, service.url, plan, number, killed)
                    for number in range(plan.clients)
                ]
                tries = {name: count for one in clients for name, count in one.result().items()}
            outcome.accepted = len(tries)
            outcome.repeated = sum(count > 1 for count in tries.values())
            names = {name: _request(int(name.rpartition("-")[2]), plan) for name in tries}
            first = {name: _ended(service.url, name) for name in names}
        finally:
            killed.set()
        killer.result()
    until(service.ready, "a server that is ready")
    _compare(service.url, names, first, outcome)
    outcome.seconds = time.monotonic() - began


def _client(url: str, plan: Plan, first: int, killed: threading.Event) -> dict[str, int]:
    """Order every so often; returns the names of what was accepted, and how often each was sent."""
    tries: dict[str, int] = {}
    number = first
    while number < plan.predictions or not killed.is_set():
        name = f"chaos-{number}"
        tries[name] = _order(url, name, _request(number, plan))
        number += plan.clients
        time.sleep(plan.interval)
    return tries


def _request(number: int, plan: Plan) -> dict[str, Any]:
    number %= plan.requests
    things = ("apple", "pear", "plum", "lemon", "cherry")
    return {
        "prompt": f"a red {things[number % 5]} on a blue background",
        "num_inference_steps": 6 + 3 * (number % 7),
        "scheduler": ("ddim", "euler", "dpmpp_2m")[number % 3],
        "seed": number,
    }


def _order(url: str, name: str, request: dict[str, Any]) -> int:
    """Order until it is accepted; returns how often that was tried."""
    give_up, tries = time.monotonic() + PATIENCE, 0
    while True:
        tries += 1
        with suppress(httpx.TransportError):
            response = httpx.put(f"{url}/predictions/{name}", json={"input": request}, timeout=30)
            if response.is_success:
                return tries
            if response.status_code not in {429, 503, 507}:
                raise RuntimeError(f"{name}: {response.status_code} {response.text}")
        if time.monotonic() > give_up:
            raise RuntimeError(f"{name} was never accepted")
        time.sleep(0.2)


def _ended(url: str, name: str) -> dict[str, Any]:
    """A prediction as it was first seen to be over."""
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        with suppress(httpx.TransportError):
            response = httpx.get(
                f"{url}/predictions/{name}", headers={"Prefer": "wait=10"}, timeout=30
            )
            if response.status_code == 404:
                raise RuntimeError(f"{name} was accepted, and is lost")
            if response.status_code == 200 and response.json()["status"] in _OVER:
                body: dict[str, Any] = response.json()
                return body
        time.sleep(0.1)
    raise RuntimeError(f"{name} does not end")


def _kill(
    service: Service,
    database: PostgreSQL | None,
    plan: Plan,
    outcome: Outcome,
    chance: random.Random,
    killed: threading.Event,
) -> None:
    """Kill at random moments, until it is enough."""
    try:
        for number in range(plan.kills):
            if killed.wait(chance.uniform(*plan.pause)):
                return
            target = plan.targets[number % len(plan.targets)]
            if database is not None and target == _DATABASE:
                database.kill()
                outcome.kills[target] += 1
                time.sleep(chance.uniform(0, plan.outage))
                database.start()
            elif service.kill(target):
                outcome.kills[target] += 1
            if target == "all":
                service.start()
    finally:
        killed.set()


def _compare(
    url: str, names: dict[str, dict[str, Any]], first: dict[str, Any], outcome: Outcome
) -> None:
    alone: dict[str, npt.NDArray[np.uint8]] = {}
    for name, request in names.items():
        body = _ended(url, name)
        outcome.statuses[body["status"]] += 1
        outcome.attempts[body["attempts"]] += 1
        outcome.waits.append(body["metrics"]["total_time"])
        outcome.changed += _lasting(body) != _lasting(first[name])
        if body["status"] != "succeeded":
            continue
        key = repr(request)
        if key not in alone:
            response = httpx.post(f"{url}/txt2img", json=request, timeout=300)
            alone[key] = _pixels(response.raise_for_status().content)
        picture = httpx.get(body["output"][0], timeout=60).raise_for_status().content
        outcome.identical += bool(np.array_equal(_pixels(picture), alone[key]))


def _lasting(body: dict[str, Any]) -> tuple[Any, ...]:
    """What of a prediction must not change, once it is over."""
    return body["status"], body["completed_at"], [one["sha256"] for one in body["outputs"]]


def _pixels(file: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(PIL.Image.open(io.BytesIO(file)))


def command(options: argparse.Namespace) -> int:
    """``python -m benchmarks chaos``: 1 where something was lost or wrong."""
    plan = Plan(
        options.host,
        options.predictions,
        kills=options.kills,
        store=options.store,
        postgresql=options.postgresql,
    )
    outcome = run(plan)
    sys.stdout.write(f"{outcome.table()}\n")
    return 0 if outcome.right else 1
