"""A running engine over the embedded model, and a way to wait for what it says."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from engine.engine import Engine
from engine.events import Event, Failed, Image
from engine.families.stable_diffusion import StableDiffusion
from engine.job import Job
from engine.observer import Phase
from engine.request import GenerationRequest
from engine.state import DenoisingState


@dataclass
class Recorder:
    """An observer that keeps what it is told."""

    outcomes: Counter[str] = field(default_factory=Counter)
    batches: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    phases: Counter[str] = field(default_factory=Counter)
    depths: list[tuple[int, int]] = field(default_factory=list)

    def depth(self, waiting: int, running: int) -> None:
        self.depths.append((waiting, running))

    def denoised(self, jobs: int, rows: int, seconds: float) -> None:
        self.batches.append(jobs)
        self.rows.append(rows)

    def phase(self, phase: Phase, seconds: float) -> None:
        assert seconds >= 0
        self.phases[phase.value] += 1

    def finished(self, outcome: str) -> None:
        self.outcomes[outcome] += 1


class Client:
    """Submits a request and collects its events."""

    def __init__(self, engine: Engine, request: GenerationRequest) -> None:
        self.events: list[Event] = []
        self._done = threading.Event()
        self.job: Job = engine.submit(request, self._receive)

    def _receive(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Image | Failed):
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


class Gate:
    """A family whose passes can be held, watched and made to fail; all else is the real one."""

    def __init__(self, family: StableDiffusion) -> None:
        self._family = family
        self.open = threading.Event()
        self.entered = threading.Event()
        self.memory = 1_000  # rows that fit
        self.broken = False
        self.poison_seed: int | None = None
        self.prepare = family.prepare
        self.decode = family.decode

    def forward(self, states: Sequence[DenoisingState]) -> list[torch.Tensor]:
        self.entered.set()
        assert self.open.wait(60)
        if self.broken:
            raise RuntimeError("secret detail /etc/shadow")
        if sum(state.rows for state in states) > self.memory:
            raise torch.OutOfMemoryError("does not fit")
        predictions = self._family.forward(states)
        for state, prediction in zip(states, predictions, strict=True):
            if state.guidance_scale == self.poison_seed:
                prediction.fill_(float("nan"))
        return predictions


@pytest.fixture(scope="session")
def family(pipeline: Any) -> StableDiffusion:
    return StableDiffusion(type(pipeline)(**pipeline.components, requires_safety_checker=False))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def engine(family: StableDiffusion, recorder: Recorder) -> Iterator[Engine]:
    engine = Engine({"embedded": family}, observer=recorder)
    yield engine
    engine.close()


@pytest.fixture
def gate(family: StableDiffusion) -> Gate:
    return Gate(family)
