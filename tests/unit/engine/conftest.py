"""A running engine over the embedded model, and a way to wait for what it says."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import PIL.Image
import pytest
import torch

from contract.events import Event, Failed, Image, ends
from contract.observer import Pass, Phase, RowOutcome, WeightKind
from contract.request import GenerationRequest
from contract.screening import Action, CheckName
from engine.cpu.threads import ThreadPlan, ThreadTuner
from engine.cpu.tuned import CpuTuned
from engine.denoising.state import DenoisingState
from engine.engine import Engine
from engine.lora.adapter import Adapter
from engine.pipelines.base import NO_ADAPTERS, DiffusionModel, SegmentRequest
from engine.pipelines.stable_diffusion import StableDiffusion
from engine.submission import Submission
from engine.weights.cache import WeightCache


@dataclass
class Recorder:
    """An observer that keeps what it is told."""

    outcomes: Counter[str] = field(default_factory=Counter)
    passes: list[Pass] = field(default_factory=list)
    row_outcomes: Counter[RowOutcome] = field(default_factory=Counter)
    loads: list[tuple[str, bool]] = field(default_factory=list)
    memory: dict[WeightKind, int] = field(default_factory=dict)
    phases: Counter[str] = field(default_factory=Counter)
    overflows: int = 0
    depths: list[tuple[int, int]] = field(default_factory=list)
    screening: list[tuple[str, str]] = field(default_factory=list)

    def depth(self, waiting: int, running: int) -> None:
        self.depths.append((waiting, running))

    @property
    def batches(self) -> list[int]:
        """Jobs of each pass."""
        return [len(done.jobs) for done in self.passes]

    @property
    def rows(self) -> list[int]:
        return [done.rows for done in self.passes]

    def denoised(self, done: Pass) -> None:
        self.passes.append(done)

    def spent(self, outcome: RowOutcome, row_steps: int) -> None:
        self.row_outcomes[outcome] += row_steps

    def loaded(self, kind: WeightKind, name: str, seconds: float, total: int) -> None:
        assert seconds >= 0
        self.loads.append((name, True))
        self.memory[kind] = total

    def evicted(self, kind: WeightKind, name: str, total: int) -> None:
        self.loads.append((name, False))
        self.memory[kind] = total

    def phase(self, phase: Phase, seconds: float) -> None:
        assert seconds >= 0
        self.phases[phase.value] += 1

    def out_of_memory(self) -> None:
        self.overflows += 1

    def screened(self, check: CheckName, action: Action) -> None:
        self.screening.append((check, action))

    def finished(self, outcome: str) -> None:
        self.outcomes[outcome] += 1


class Client:
    """Submits a request and collects its events."""

    def __init__(self, engine: Engine, request: GenerationRequest) -> None:
        self.events: list[Event] = []
        self._done = threading.Event()
        self.submission: Submission = engine.submit(request, self._receive)

    def _receive(self, event: Event) -> None:
        self.events.append(event)
        if ends(event):
            self._done.set()

    def result(self) -> Image | Failed:
        assert self._done.wait(120), f"no end after 120 s: {self.events}"
        end = self.events[-1]
        assert isinstance(end, Image | Failed)
        return end

    def image(self) -> Image:
        end = self.result()
        assert isinstance(end, Image), end
        return end

    def failed(self) -> Failed:
        end = self.result()
        assert isinstance(end, Failed), end
        return end


class Gate:
    """A model whose calls can be held and watched; all else is the real one."""

    def __init__(self, model: DiffusionModel) -> None:
        self._model = model
        self.open = threading.Event()
        self.entered = threading.Event()
        self.memory = 1_000  # rows that fit
        self.broken = False
        self.calls: list[str] = []
        self.preview = model.preview
        self.load_adapter = model.load_adapter
        self.latent_scale = model.latent_scale

    def prepare(
        self, wanted: Sequence[SegmentRequest], adapters: Mapping[str, Adapter] = NO_ADAPTERS
    ) -> list[DenoisingState]:
        self.calls.append(f"prepare {len(wanted)}")
        return self._model.prepare(wanted, adapters)

    def decode(self, states: Sequence[DenoisingState]) -> list[PIL.Image.Image | ArithmeticError]:
        self.calls.append(f"decode {len(states)}")
        return self._model.decode(states)

    def forward(self, states: Sequence[DenoisingState], rows: int) -> list[torch.Tensor]:
        self.calls.append(f"forward {len(states)}")
        self.entered.set()
        assert self.open.wait(60)
        if self.broken:
            raise RuntimeError("secret detail /etc/shadow")
        if rows > self.memory:
            raise torch.OutOfMemoryError("does not fit")
        return self._model.forward(states, rows)


@pytest.fixture(scope="session")
def model(pipeline: Any) -> StableDiffusion:
    return StableDiffusion(type(pipeline)(**pipeline.components, requires_safety_checker=False))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def engine(model: StableDiffusion, recorder: Recorder) -> Iterator[Engine]:
    engine = Engine(WeightCache.preloaded({"embedded": model}), observer=recorder)
    yield engine
    engine.close()


@pytest.fixture
def gate(model: StableDiffusion) -> Gate:
    return Gate(model)


@pytest.fixture
def gated(gate: Gate, recorder: Recorder) -> Iterator[Engine]:
    """An engine that takes no step before the gate is open."""
    engine = Engine(WeightCache.preloaded({"embedded": gate}), observer=recorder, max_queue=4)
    yield engine
    gate.open.set()
    engine.close()


def in_two_parts(model: DiffusionModel) -> CpuTuned:
    """A model whose passes are made in two parts at the same time, wherever they can be."""
    return CpuTuned(model, ThreadTuner([ThreadPlan(1, split=2)]))


def pixels(image: Image) -> list[int]:
    """The colour values of a picture, row by row."""
    return list(PIL.Image.open(BytesIO(image.data)).tobytes())
