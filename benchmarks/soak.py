"""The soak test: whether the engine's memory grows over thousands of small jobs, some of them
cancelled, some failing.

``python -m benchmarks.soak`` prints the resident memory after the first jobs and at the end, and
exits with 1 if it grew by more than ``BOUND``.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import psutil

from benchmarks import embedded
from benchmarks.workloads import WORKLOADS
from contract.errors import RequestError
from contract.request import GenerationRequest
from engine.blocking import generate
from engine.engine import Engine
from engine.weights.memory import release

BOUND = 0.02
CLIENTS = 8
CANCELLED = 0.10
FAILING = 0.05
PREVIEWED = 0.10
THINGS = ("red apple", "cat", "car", "tree", "green cup")
GROUNDS = ("blue", "white", "yellow")
LONGEST_WAIT = 0.4  # seconds until a client cancels, about what a picture takes here
PROMPTS = [f"a {thing} on a {ground} background" for thing in THINGS for ground in GROUNDS]
# Large enough to overflow float32, so that the latents are not finite.
OVERFLOW = 3e38


@dataclass(frozen=True, slots=True)
class Soak:
    """Bytes of resident memory after the first jobs and after all, and how the jobs ended."""

    early: int
    late: int
    outcomes: Counter[str]

    @property
    def growth(self) -> float:
        return self.late / self.early - 1


@dataclass(frozen=True, slots=True)
class Task:
    """A job, and the seconds after which its client cancels it."""

    request: GenerationRequest
    cancel_after: float | None


def tasks(seed: int) -> Iterator[Task]:
    """Endless small jobs: txt2img, img2img, with previews, failing ones, cancelled ones."""
    dice = random.Random(seed)  # noqa: S311
    for wanted in WORKLOADS["mixed"].requests(seed):
        small = replace(wanted, steps=dice.randint(2, 5), side=64)
        # Few enough for the cache of prompts to be full when the memory is looked at first.
        small = replace(small, prompt=PROMPTS[dice.randrange(len(PROMPTS))])
        request = small.generation_request()
        chance = dice.random()
        if chance < FAILING / 2:
            request = replace(request, guidance_scale=OVERFLOW)
        elif chance < FAILING:
            # Not in the engine's table: it raises when the job is prepared.
            request = replace(request, scheduler="none")
        if dice.random() < PREVIEWED:
            request = replace(request, wants_progress=True, wants_previews=True)
        cancels = dice.random() < CANCELLED
        yield Task(request, dice.uniform(0, LONGEST_WAIT) if cancels else None)


def soak(engine: Engine, jobs: int, early: int, seed: int = 1) -> Soak:
    """Run the jobs, a few at a time.

    Args:
        jobs: how many.
        early: after how many of them the memory is looked at first.
    """
    source = tasks(seed)
    outcomes: Counter[str] = Counter()
    _work(engine, [next(source) for _ in range(early)], outcomes)
    before = _resident()
    _work(engine, [next(source) for _ in range(jobs - early)], outcomes)
    return Soak(before, _resident(), outcomes)


def _work(engine: Engine, batch: list[Task], outcomes: Counter[str]) -> None:
    remaining = iter(batch)
    lock = threading.Lock()

    def client() -> None:
        while True:
            with lock:
                task = next(remaining, None)
            if task is None:
                return
            outcome = _outcome(engine, task)
            with lock:
                outcomes[outcome] += 1

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()


def _outcome(engine: Engine, task: Task) -> str:
    try:
        generate(engine, task.request, cancel_after=task.cancel_after)
    except RequestError as error:
        return error.code.value
    return "picture"


def _resident() -> int:
    """Bytes of resident memory, once what is garbage has been given back to the system."""
    # The last files are delivered by threads that end just now.
    time.sleep(0.5)
    release()
    return int(psutil.Process().memory_info().rss)


def main() -> int:
    """Run, print, and compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2_000)
    parser.add_argument("--early", type=int, default=200)
    options = parser.parse_args()
    # Failing jobs are what is asked for: no tracebacks.
    logging.getLogger("engine").setLevel(logging.CRITICAL)
    engine = embedded.build()
    began = time.monotonic()
    try:
        result = soak(engine, options.jobs, options.early)
    finally:
        engine.close()
    mebi = 2**20
    print(
        f"{options.jobs} jobs in {time.monotonic() - began:.0f} s: "
        + ", ".join(f"{count} {outcome}" for outcome, count in result.outcomes.most_common())
    )
    print(
        f"resident memory: {result.early / mebi:.1f} MiB after {options.early} jobs, "
        f"{result.late / mebi:.1f} MiB at the end: {result.growth:+.2%} (bound {BOUND:.0%})"
    )
    return 0 if result.growth <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
