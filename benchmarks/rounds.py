"""Rounds of load against one contestant."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from benchmarks.contestant import ROOT, Choice, Contestant
from benchmarks.load import Log, Outcome, Plan
from benchmarks.measures import Figures, figures, median_by_class
from benchmarks.server import Server, environment, started, stop
from benchmarks.work import Ledger, Work
from benchmarks.workloads import BLOCK, SINGLE, TYPICAL, WARM_UPS, WORKLOADS

CLIENTS = 16
QUIET = 1.5  # seconds without a denoiser pass, after which a server has nothing left to do
SETTLE = 30.0  # seconds that it gets for that


class RoundFailed(RuntimeError):
    """A round gave no figures; the message says why."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long clients come, in seconds, by workload."""

    seconds: dict[str, float]


# Overload is long enough for this service's queue of 64 to fill up.
FULL = Effort(
    {
        "uniform": 30,
        "mixed": 65,
        "mixed_poisson": 30,
        "impatient": 45,
        "overload": 30,
        "several": 90,
    },
)
QUICK = Effort(
    {
        "uniform": 10,
        "mixed": 15,
        "mixed_poisson": 10,
        "impatient": 10,
        "overload": 16,
        "several": 30,
    },
)


class Driver(Protocol):
    """Puts load on a contestant."""

    def drive(self, plan: Plan, *, settle: bool) -> tuple[Log, Work]:
        """Carry out a plan; ``settle`` waits until the work of clients who left is done, too."""
        ...


@dataclass(frozen=True, slots=True)
class ServerDriver:
    """The load generator against a server."""

    server: Server

    def drive(self, plan: Plan, *, settle: bool) -> tuple[Log, Work]:
        self.server.meter.begin()
        log = carry_out("benchmarks.load", plan)
        if settle:
            self._wait_until_quiet()
        return log, self.server.meter.work(log.departures())

    def _wait_until_quiet(self) -> None:
        give_up = time.monotonic() + SETTLE
        before = -1
        while (now := self.server.meter.work({}).row_steps) != before:
            if time.monotonic() > give_up:
                return
            before = now
            time.sleep(QUIET)


@dataclass(frozen=True, slots=True)
class LoopDriver:
    """The bare loop, which works a plan off by itself."""

    contestant: Contestant
    choice: Choice
    device: str

    def drive(self, plan: Plan, *, settle: bool) -> tuple[Log, Work]:
        with TemporaryDirectory(prefix="bench-") as folder:
            variables = environment(self.contestant, self.choice, Path(folder), self.device)
            log = carry_out("benchmarks.contestants.diffusers_loop", plan, variables)
            return log, Ledger(Path(folder) / "ledger").work(log.departures())


@contextmanager
def driver(
    contestant: Contestant, choice: Choice, device: str, models: tuple[str, ...] = SINGLE
) -> Iterator[Driver]:
    """A contestant that serves these models, ready and warm."""
    if not contestant.arguments:
        yield LoopDriver(contestant, choice, device)
        return
    with started(contestant, choice, device, models) as server:
        warm_up(server, models)
        yield ServerDriver(server)


def warm_up(server: Server, models: tuple[str, ...]) -> None:
    """Let it make every kind of picture: short ones first, as BentoML's dispatcher learns from the
    first 11 batches of each endpoint, then real ones.

    Raises:
        RoundFailed: one of the short ones did not come; the message has the end of the log.
    """
    brief = Plan(url=server.url, workload=WARM_UPS[models].name, seconds=60, clients=4, limit=32)
    log = carry_out("benchmarks.load", brief)
    failed = [record for record in log.records if record.outcome is not Outcome.PICTURE]
    if failed:
        raise RoundFailed(
            f"{server.contestant.name} makes no pictures: {failed[0].reason}\n{server.log_tail()}"
        )
    real = Plan(url=server.url, workload=TYPICAL[models], seconds=60, seed=2, limit=CLIENTS)
    carry_out("benchmarks.load", real)


def measure(
    contestant: Contestant, driven: Driver, workloads: Sequence[str], effort: Effort, seed: int
) -> Iterator[tuple[str, Figures]]:
    """Run the workloads, in the order of ``WORKLOADS``, and yield the figures of each.

    What needs the contestant's capacity, or how long its pictures usually take, learns it from
    the mixed workload, which is run for that if it is not wanted itself.
    """
    wanted = [name for name in WORKLOADS if name in workloads]
    url = driven.server.url if isinstance(driven, ServerDriver) else ""
    capacity = 0.0
    usual: dict[str, float] = {}
    for name in _with_calibration(wanted):
        workload = WORKLOADS[name]
        rate = None if workload.load is None else workload.load * capacity
        if rate is not None and not rate:
            raise RoundFailed(f"{contestant.name} has no capacity: no pictures in mixed")
        plan = Plan(
            url=url,
            workload=name,
            seconds=effort.seconds[name],
            seed=seed,
            clients=CLIENTS,
            rate=rate,
            usual=usual,
        )
        # After an overload a server without a limit works on for minutes; it is stopped instead.
        log, work = driven.drive(plan, settle=name != "overload")
        result = figures(log.records, plan.seconds, work, rate)
        if name == "mixed":
            capacity = result.goodput
            usual = _usual(log)
        if name in wanted:
            _say(contestant, name, result)
            yield name, result


def _with_calibration(wanted: list[str]) -> list[str]:
    needs = any(WORKLOADS[name].load or WORKLOADS[name].leavers for name in wanted)
    if not needs or "mixed" in wanted:
        return wanted
    return [name for name in WORKLOADS if name in wanted or name == "mixed"]


def _usual(log: Log) -> dict[str, float]:
    """Median latency of each class; the mean of these for a class without pictures."""
    medians = median_by_class(log.records)
    mean = sum(medians.values()) / max(1, len(medians))
    block = islice(WORKLOADS["mixed"].requests(1), BLOCK)
    return {request.kind: medians.get(request.kind, mean) for request in block}


def carry_out(module: str, plan: Plan, variables: dict[str, str] | None = None) -> Log:
    """Run a plan in a process of its own."""
    with TemporaryDirectory(prefix="bench-") as folder:
        orders, answers = Path(folder) / "plan.json", Path(folder) / "log.json"
        orders.write_text(json.dumps(asdict(plan)), encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(orders), str(answers)],
            cwd=ROOT,
            env=variables,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            _, errors = process.communicate()
        finally:
            stop(process)
        if process.returncode:
            raise RoundFailed(f"{module} failed:\n{errors.decode('utf-8', 'replace')[-4000:]}")
        return Log.read(answers)


def _say(contestant: Contestant, name: str, result: Figures) -> None:
    p50 = "-" if result.p50 is None else f"{result.p50:.2f} s"
    print(
        f"{contestant.name:17} {name:14} {result.goodput:6.2f} pictures/s  p50 {p50:>8}  "
        f"useful {_percent(result.useful_slot_steps)}  wasted {_percent(result.wasted_steps)}  "
        f"{result.errors} errors, {result.refused} refused, {result.left} left, "
        f"{result.sent} sent",
        flush=True,
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
