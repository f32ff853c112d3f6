"""The engine's measurements in Prometheus' format, for ``/metrics``.

Imported inside the engine's process only: prometheus_client decides at its first import whether it
works across processes, and BentoML sets that up after the service module was imported.
"""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

import psutil
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import mark_process_dead

from contract.observer import Pass, Phase, RowOutcome, WeightKind
from contract.screening import CHECKS, Action, CheckName

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)


class PrometheusObserver:
    """Implements ``contract.observer.Observer``; prometheus_client's metrics are thread-safe."""

    def __init__(self) -> None:
        _forget_dead_workers()
        self._depth = Gauge(
            "sd_queue_depth",
            "Jobs in the engine: waiting for admission, or being denoised",
            ["state"],
            multiprocess_mode="livesum",
        )
        self._jobs = Counter(
            "sd_jobs", "Finished jobs: ok, or the code of their error", ["outcome"]
        )
        self._batch_jobs = Histogram(
            "sd_step_batch_size", "Jobs that shared a denoiser pass", buckets=_SIZES
        )
        self._batch_rows = Histogram(
            "sd_step_batch_rows",
            "Rows of a denoiser pass: two a job with guidance, and padding",
            buckets=_SIZES,
        )
        self._lora_sets = Histogram(
            "sd_step_lora_sets",
            "Different sets of LoRAs in a denoiser pass; 0: no LoRA",
            buckets=(0, *_SIZES),
        )
        self._step = Histogram("sd_step_seconds", "Seconds of a denoiser pass", buckets=_SECONDS)
        self._row_steps = Counter(
            "sd_row_steps",
            "Rows, summed over the denoiser passes, by their outcome",
            ["outcome"],
        )
        self._resident = Gauge(
            "sd_model_resident",
            "Whether a model is in memory",
            ["model"],
            multiprocess_mode="livesum",
        )
        self._loads = Histogram(
            "sd_model_load_seconds", "Seconds it took to load a model", ["model"], buckets=_SECONDS
        )
        # Not by name: LoRAs come and go, and each training makes another one.
        self._lora_loads = Histogram(
            "sd_lora_load_seconds", "Seconds it took to load a LoRA", buckets=_SECONDS
        )
        self._resident_bytes = Gauge(
            "sd_resident_bytes",
            "Bytes that the weights in memory take: of models, and of LoRAs",
            ["kind"],
            multiprocess_mode="livesum",
        )
        self._evictions = Counter(
            "sd_evictions", "Models and LoRAs that were evicted from memory", ["kind"]
        )
        for kind in WeightKind:
            self._resident_bytes.labels(kind.value)
            self._evictions.labels(kind.value)
        self._out_of_memory = Counter(
            "sd_out_of_memory", "Denoiser passes that did not fit into memory, and were halved"
        )
        self._phases = Histogram(
            "sd_job_phase_seconds", "Seconds a job spent in a phase", ["phase"], buckets=_SECONDS
        )
        self._screened = Counter(
            "sd_screened_images",
            "Pictures that a screening check found something in, and what was done about it",
            ["check", "action"],
        )
        for check, action in product(CHECKS, ("flag", "blur", "reject")):
            # A series that only appears with the first finding hides that one from rate().
            self._screened.labels(check, action)

    def depth(self, waiting: int, running: int) -> None:
        self._depth.labels("waiting").set(waiting)
        self._depth.labels("running").set(running)

    def denoised(self, done: Pass) -> None:
        self._batch_jobs.observe(len(done.jobs))
        self._batch_rows.observe(done.rows)
        self._lora_sets.observe(done.lora_sets)
        self._step.observe(done.seconds)

    def spent(self, outcome: RowOutcome, row_steps: int) -> None:
        self._row_steps.labels(outcome.value).inc(row_steps)

    def loaded(self, kind: WeightKind, name: str, seconds: float, total: int) -> None:
        self._resident_bytes.labels(kind.value).set(total)
        if kind is WeightKind.MODEL:
            self._resident.labels(name).set(1)
            self._loads.labels(name).observe(seconds)
        else:
            self._lora_loads.observe(seconds)

    def evicted(self, kind: WeightKind, name: str, total: int) -> None:
        self._resident_bytes.labels(kind.value).set(total)
        self._evictions.labels(kind.value).inc()
        if kind is WeightKind.MODEL:
            self._resident.labels(name).set(0)

    def phase(self, phase: Phase, seconds: float) -> None:
        self._phases.labels(phase.value).observe(seconds)

    def out_of_memory(self) -> None:
        self._out_of_memory.inc()

    def screened(self, check: CheckName, action: Action) -> None:
        self._screened.labels(check, action).inc()

    def finished(self, outcome: str) -> None:
        self._jobs.labels(outcome).inc()


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
