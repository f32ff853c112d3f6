"""The trial of settings: those that suit each contestant best on this machine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.contestant import CONTESTANTS, Choice, Contestant
from benchmarks.rounds import Effort, RoundFailed, driver, measure
from benchmarks.server import StartFailed
from benchmarks.workloads import TYPICAL
from training.machine import describe

TUNED = Path(__file__).with_name("tuned.json")
TRIAL = Effort({"mixed": 20, "several": 20})
MAX_LATENCIES = (5_000, 60_000)  # milliseconds
BATCH_WAITS = (0.0, 0.05)  # seconds


@dataclass(frozen=True, slots=True)
class Trial:
    """A setting, and what it gave: pictures per second of the typical workload."""

    contestant: str
    set: dict[str, Any]
    goodput: float
    errors: int


def tune(contestant: Contestant, device: str) -> tuple[Choice, list[Trial]]:
    """Try the threads first, then with the best of them what else there is."""
    trials: list[Trial] = []
    best = Choice()
    for alternatives in _alternatives(contestant):
        tried = []
        for changes in alternatives:
            choice = replace(best, **changes)
            trial = _try(contestant, choice, device)
            trials.append(trial)
            tried.append((trial.goodput, choice))
            print(f"{contestant.name}: {trial.set}: {trial.goodput:.2f} pictures/s", flush=True)
        best = max(tried, key=lambda pair: pair[0])[1]
    return best, trials


def _alternatives(contestant: Contestant) -> Iterator[list[dict[str, Any]]]:
    if "threads" in contestant.settable:
        cores = len(os.sched_getaffinity(0))
        # A single thread waits for no other.
        yield [
            {"threads": 1, "idle": "sleep"},
            *({"threads": cores, "idle": idle} for idle in ("spin briefly", "spin")),
        ]
    if "max_latency_ms" in contestant.settable:
        yield [{"max_latency_ms": latency} for latency in MAX_LATENCIES]
    if "batch_wait" in contestant.settable:
        yield [{"batch_wait": wait} for wait in BATCH_WAITS]


def _try(contestant: Contestant, choice: Choice, device: str) -> Trial:
    shown = settings(contestant, choice)
    try:
        models = contestant.models[0]
        with driver(contestant, choice, device, models) as driven:
            ((_, figures),) = measure(contestant, driven, [TYPICAL[models]], TRIAL, seed=3)
    except (RoundFailed, StartFailed) as error:
        print(f"{contestant.name} with {shown}: {error}", flush=True)
        return Trial(contestant.name, shown, 0.0, 1)
    return Trial(contestant.name, shown, figures.goodput, figures.errors)


def settings(contestant: Contestant, choice: Choice) -> dict[str, Any]:
    """Of a choice, what matters to the contestant."""
    return {name: value for name, value in asdict(choice).items() if name in contestant.settable}


def tune_all(names: list[str], device: str, path: Path = TUNED) -> None:
    """Tune the named contestants and write down the choices and the trials."""
    known = load(path)
    for name in names:
        contestant = CONTESTANTS[name]
        if not contestant.settable:
            continue
        choice, trials = tune(contestant, device)
        known["choices"][name] = settings(contestant, choice)
        known["trials"] = [each for each in known["trials"] if each["contestant"] != name]
        known["trials"] += [asdict(trial) for trial in trials]
        known |= {"machine": describe(), "date": date.today().isoformat()}
        path.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


def load(path: Path = TUNED) -> dict[str, Any]:
    """What ``tune_all`` wrote; without it the defaults of ``Choice`` are taken."""
    if not path.exists():
        return {"choices": {}, "trials": []}
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return known
