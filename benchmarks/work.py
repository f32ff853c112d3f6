"""The work of a server's denoiser: the other side of what the clients received."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Protocol

from benchmarks import series

# Upper bounds of the classes of batch sizes; those of the service's histogram.
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)


@dataclass(frozen=True, slots=True)
class Work:
    """The denoiser's work in a round, in row-steps: one row in one pass counts one.

    Attributes:
        row_steps: all of it.
        padding: what belonged to no request.
        wasted: what was done for requests whose client had left by then.
        passes: denoiser passes by the number of requests that shared them; the keys are the
            upper bounds of classes of sizes, ``SIZES``.
    """

    row_steps: int = 0
    padding: int = 0
    wasted: int = 0
    passes: Counter[int] = field(default_factory=Counter)


class Meter(Protocol):
    """Where a server's work can be read."""

    def begin(self) -> None:
        """Count from now on."""
        ...

    def work(self, departures: Mapping[int, float]) -> Work:
        """What was done since ``begin``.

        Args:
            departures: when clients left (``time.monotonic()``), by the seeds of their requests.
        """
        ...


class Ledger:
    """A file that the contestants' ``Stock`` writes: a line ``time rows seed...`` a pass.

    The clock is the machine's, so that its times compare with those of the load generator; the
    seeds, which are all different, say whose pictures were in the pass.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begun = 0.0

    def begin(self) -> None:
        self._begun = monotonic()

    def work(self, departures: Mapping[int, float]) -> Work:
        row_steps = wasted = 0
        passes: Counter[int] = Counter()
        for line in self._lines():
            time, rows, *seeds = line.split()
            if float(time) < self._begun:
                continue
            row_steps += int(rows)
            gone = sum(departures.get(int(seed), float(time)) < float(time) for seed in seeds)
            # All requests of a call have the same number of rows.
            wasted += int(rows) // len(seeds) * gone
            passes[next(size for size in SIZES if len(seeds) <= size)] += 1
        return Work(row_steps, 0, wasted, passes)

    def _lines(self) -> list[str]:
        return self._path.read_text(encoding="ascii").splitlines() if self._path.exists() else []


class Metrics:
    """This service's ``/metrics``. It counts by itself what was done for clients who had left.

    Args:
        url: of the host.
        prefix: of the names there.
        delay: seconds until what was counted is there.
    """

    def __init__(self, url: str, prefix: str = "", delay: float = 0.0) -> None:
        self._url = url
        self._prefix = prefix
        self._delay = delay
        self._before = Work()

    def begin(self) -> None:
        self._before = self._read()

    def work(self, departures: Mapping[int, float]) -> Work:
        now = self._read()
        return Work(
            now.row_steps - self._before.row_steps,
            now.padding - self._before.padding,
            now.wasted - self._before.wasted,
            now.passes - self._before.passes,
        )

    def _read(self) -> Work:
        sleep(self._delay)
        outcomes: Counter[str] = Counter()
        below: Counter[float] = Counter()
        for sample in series.read(f"{self._url}/metrics"):
            name = sample.name.removeprefix(self._prefix)
            if name == "sd_row_steps_total":
                outcomes[sample.labels["outcome"]] += int(sample.value)
            elif name == "sd_step_batch_size_bucket":
                below[float(sample.labels["le"])] += int(sample.value)
        passes: Counter[int] = Counter()
        smaller = 0
        for bound in SIZES:
            passes[bound] = below[bound] - smaller
            smaller = below[bound]
        return Work(outcomes.total(), outcomes["padding"], outcomes["wasted"], +passes)
