"""The engine's measurements as metrics of Ray, which every node of a cluster exports.

Their names are those of every host; Ray puts ``ray_`` in front of them (docs/ray.md).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

from assembly.measuring import Instrument, MeasuringObserver
from contract.observer import WeightKind


class RayObserver(MeasuringObserver):
    """Measures with Ray's instruments, and knows what is in memory."""

    def __init__(self) -> None:
        super().__init__(RayInstruments())
        self._lock = threading.Lock()
        self._in_memory: dict[WeightKind, set[str]] = {kind: set() for kind in WeightKind}

    def loaded(self, kind: WeightKind, name: str, seconds: float, total: int) -> None:
        super().loaded(kind, name, seconds, total)
        with self._lock:
            self._in_memory[kind].add(name)

    def evicted(self, kind: WeightKind, name: str, total: int) -> None:
        super().evicted(kind, name, total)
        with self._lock:
            self._in_memory[kind].discard(name)

    def resident(self, kind: WeightKind) -> list[str]:
        """The models by their names, or the LoRAs by their tags, that are in memory."""
        with self._lock:
            return sorted(self._in_memory[kind])


class RayInstruments:
    """Implements ``assembly.measuring.Instruments``. Ray adds up the values of all processes."""

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Instrument:
        metric = Counter(name, text, tuple(labels))

        def add(value: float, *given: str) -> None:
            # Ray refuses a 0, and so begins no series before there is something to count.
            if value:
                metric.inc(value, _tags(labels, given))

        return add

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Instrument:
        metric = Gauge(name, text, tuple(labels))
        return lambda value, *given: metric.set(value, _tags(labels, given))

    def histogram(
        self, name: str, text: str, labels: Sequence[str] = (), *, buckets: Sequence[float]
    ) -> Instrument:
        # Ray takes no bound of 0.
        bounds = [float(bound) for bound in buckets if bound > 0]
        metric = Histogram(name, text, bounds, tuple(labels))
        return lambda value, *given: metric.observe(value, _tags(labels, given))


def _tags(labels: Sequence[str], given: Sequence[str]) -> dict[str, Any]:
    return dict(zip(labels, given, strict=True))
