"""The engine's measurements in Prometheus' format, for ``/metrics``.

Imported inside the engine's process only: prometheus_client decides at its first import whether it
works across processes, and BentoML sets that up after the service module was imported.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import psutil
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import mark_process_dead

from assembly.measuring import Instrument, MeasuringObserver


class PrometheusObserver(MeasuringObserver):
    """Measures with prometheus_client; its metrics are thread-safe."""

    def __init__(self) -> None:
        _forget_dead_workers()
        super().__init__(PrometheusInstruments())


class PrometheusInstruments:
    """Implements ``assembly.measuring.Instruments``."""

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Instrument:
        metric = Counter(name, text, labels)
        return lambda value, *given: (metric.labels(*given) if given else metric).inc(value)

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Instrument:
        metric = Gauge(name, text, labels, multiprocess_mode="livesum")
        return lambda value, *given: (metric.labels(*given) if given else metric).set(value)

    def histogram(
        self, name: str, text: str, labels: Sequence[str] = (), *, buckets: Sequence[float]
    ) -> Instrument:
        metric = Histogram(name, text, labels, buckets=buckets)
        return lambda value, *given: (metric.labels(*given) if given else metric).observe(value)


def exposition() -> tuple[bytes, str]:
    """The measurements of this process in Prometheus' text format, and its media type."""
    return generate_latest(), CONTENT_TYPE_LATEST


def _forget_dead_workers() -> None:
    """Drop the gauges of workers that were killed, or their last values would be added for ever."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        return
    for file in Path(folder).glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if not psutil.pid_exists(pid):
            mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]
