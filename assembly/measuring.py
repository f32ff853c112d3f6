"""The engine's measurements: their names, and which of its reports each of them counts.

They are the same on every host; a host says by what instruments they are taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Protocol

from contract.observer import Pass, Phase, RowOutcome, WeightKind
from contract.screening import CHECKS, Action, CheckName

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)


class Instrument(Protocol):
    """Takes a value, with one value for each of its labels; safe from any thread."""

    def __call__(self, value: float, *labels: str) -> None: ...


class Instruments(Protocol):
    """Makes instruments, each name once."""

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Instrument:
        """One that adds up what it is given; 0 begins a series."""
        ...

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Instrument:
        """One that shows the last value; those of all engines are added."""
        ...

    def histogram(
        self, name: str, text: str, labels: Sequence[str] = (), *, buckets: Sequence[float]
    ) -> Instrument:
        """One that counts the values up to each of some bounds."""
        ...


class MeasuringObserver:
    """Implements ``contract.observer.Observer`` with a host's instruments."""

    def __init__(self, instruments: Instruments) -> None:
        counter, gauge, histogram = instruments.counter, instruments.gauge, instruments.histogram
        self._depth = gauge(
            "sd_queue_depth",
            "Jobs in the engine: waiting for admission, or being denoised",
            ["state"],
        )
        # What has done nothing yet is idle, and who scales by it should know.
        self.depth(0, 0)
        self._jobs = counter(
            "sd_jobs", "Finished jobs: ok, or the code of their error", ["outcome"]
        )
        self._batch_jobs = histogram(
            "sd_step_batch_size", "Jobs that shared a denoiser pass", buckets=_SIZES
        )
        self._batch_rows = histogram(
            "sd_step_batch_rows",
            "Rows of a denoiser pass: two a job with guidance, and padding",
            buckets=_SIZES,
        )
        self._lora_sets = histogram(
            "sd_step_lora_sets",
            "Different sets of LoRAs in a denoiser pass; 0: no LoRA",
            buckets=(0, *_SIZES),
        )
        self._step = histogram("sd_step_seconds", "Seconds of a denoiser pass", buckets=_SECONDS)
        self._row_steps = counter(
            "sd_row_steps",
            "Rows, summed over the denoiser passes, by their outcome",
            ["outcome"],
        )
        self._resident = gauge("sd_model_resident", "Whether a model is in memory", ["model"])
        self._loads = histogram(
            "sd_model_load_seconds", "Seconds it took to load a model", ["model"], buckets=_SECONDS
        )
        # Not by name: LoRAs come and go, and each training makes another one.
        self._lora_loads = histogram(
            "sd_lora_load_seconds", "Seconds it took to load a LoRA", buckets=_SECONDS
        )
        self._resident_bytes = gauge(
            "sd_resident_bytes",
            "Bytes that the weights in memory take: of models, and of LoRAs",
            ["kind"],
        )
        self._evictions = counter(
            "sd_evictions", "Models and LoRAs that were evicted from memory", ["kind"]
        )
        for kind in WeightKind:
            self._resident_bytes(0, kind.value)
            self._evictions(0, kind.value)
        self._out_of_memory = counter(
            "sd_out_of_memory", "Denoiser passes that did not fit into memory, and were halved"
        )
        self._out_of_memory(0)
        self._phases = histogram(
            "sd_job_phase_seconds", "Seconds a job spent in a phase", ["phase"], buckets=_SECONDS
        )
        self._screened = counter(
            "sd_screened_images",
            "Pictures that a screening check found something in, and what was done about it",
            ["check", "action"],
        )
        for check, action in product(CHECKS, ("flag", "blur", "reject")):
            # A series that only appears with the first finding hides that one from rate().
            self._screened(0, check, action)

    def depth(self, waiting: int, running: int) -> None:
        self._depth(waiting, "waiting")
        self._depth(running, "running")

    def denoised(self, done: Pass) -> None:
        self._batch_jobs(len(done.jobs))
        self._batch_rows(done.rows)
        self._lora_sets(done.lora_sets)
        self._step(done.seconds)

    def spent(self, outcome: RowOutcome, row_steps: int) -> None:
        self._row_steps(row_steps, outcome.value)

    def loaded(self, kind: WeightKind, name: str, seconds: float, total: int) -> None:
        self._resident_bytes(total, kind.value)
        if kind is WeightKind.MODEL:
            self._resident(1, name)
            self._loads(seconds, name)
        else:
            self._lora_loads(seconds)

    def evicted(self, kind: WeightKind, name: str, total: int) -> None:
        self._resident_bytes(total, kind.value)
        self._evictions(1, kind.value)
        if kind is WeightKind.MODEL:
            self._resident(0, name)

    def phase(self, phase: Phase, seconds: float) -> None:
        self._phases(seconds, phase.value)

    def out_of_memory(self) -> None:
        self._out_of_memory(1)

    def screened(self, check: CheckName, action: Action) -> None:
        self._screened(1, check, action)

    def finished(self, outcome: str) -> None:
        self._jobs(1, outcome)
