"""Whatever happens in whatever order: each job ends once, and the engine is empty afterwards."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from contract.errors import ErrorCode, RequestError
from contract.events import Event, Failed, Image, ends
from contract.observer import WeightKind
from contract.request import GenerationRequest, LoraUse, Segment
from engine.device import is_fatal
from engine.job import Job
from engine.ledger import Ledger
from engine.limits import BUCKETS, BatchLimits
from engine.loop import DeviceLost, EngineLoop
from engine.lora.adapter import Adapter
from engine.pipelines.base import DiffusionModel
from engine.submission import Submission
from engine.weights.cache import WeightCache
from engine.weights.loader import WeightLoader
from engine.weights.source import Source
from tests.conftest import make_request
from tests.unit.engine.conftest import Recorder
from tests.unit.engine.toy import Toy

MODELS = ("a", "b")
LORAS = ("x:1", "y:1", "z:1")
FAULTS = (
    RuntimeError("a pass is broken"),
    torch.OutOfMemoryError("does not fit"),
    ValueError("a value is wrong"),
)


class Faulty(WeightLoader):
    """Of which a look at some jobs fails."""

    def __init__(
        self, models: WeightCache[DiffusionModel], loras: WeightCache[Adapter] | None
    ) -> None:
        super().__init__(models, loras)
        self.unreadable: set[Job] = set()

    def ready(self, job: Job) -> bool:
        if job in self.unreadable:
            raise OSError("a file of its LoRA is gone")
        return super().ready(job)


class Interleaving(RuleBasedStateMachine):
    """The loop under any interleaving; memory holds one of two models, and two of three LoRAs."""

    @initialize(
        limits=st.sampled_from(
            [
                BatchLimits(rows=5),
                BatchLimits(rows=8, buckets=BUCKETS),
                BatchLimits(8, block=4),
                BatchLimits(rows=8, seconds=0.001),
            ]
        )
    )
    def start(self, limits: BatchLimits) -> None:
        self.recorder = Recorder()
        self.models = {name: Toy() for name in MODELS}
        self.unloadable: set[str] = set()
        self.cache: WeightCache[DiffusionModel] = WeightCache(
            {name: Source(lambda name=name: self.load(name), 4) for name in MODELS}, budget=4
        )
        self.loras: WeightCache[Adapter] = WeightCache(
            {tag: Source(lambda model, tag=tag: self.load_lora(tag, model), 4) for tag in LORAS},
            budget=8,
            kind=WeightKind.LORA,
        )
        self.weights = Faulty(self.cache, self.loras)
        self.ledger = Ledger(24, self.recorder, max_per_tenant=18)
        self.loop = EngineLoop(
            self.weights,
            limits,
            self.ledger,
            self.recorder,
            {},
            "cpu",
            lambda: None,
        )
        self.submissions: list[Submission] = []
        self.events: list[list[Event]] = []

    def load(self, name: str) -> DiffusionModel:
        if name in self.unloadable:
            self.unloadable.discard(name)
            raise OSError("the disk is gone")
        return self.models[name]

    def load_lora(self, tag: str, model: DiffusionModel) -> Adapter:
        if tag in self.unloadable:
            self.unloadable.discard(tag)
            raise OSError("the disk is gone")
        return model.load_adapter(Path("somewhere"))

    @rule(
        model=st.sampled_from(MODELS),
        tags=st.sampled_from([(), (), ("x:1",), ("x:1", "y:1"), ("y:1", "z:1")]),
        steps=st.integers(1, 3),
        pictures=st.integers(1, 3),
        guidance_scale=st.sampled_from([1.0, 3.0, 3e38]),
        tenant=st.sampled_from(["", "other"]),
        width=st.sampled_from([64, 128]),
        prompt=st.sampled_from(["a cat", "a cat", "unpreparable"]),
        cut=st.sampled_from([None, None, 0.5, 0.01]),
    )
    def submit(
        self,
        model: str,
        tags: tuple[str, ...],
        steps: int,
        pictures: int,
        guidance_scale: float,
        tenant: str,
        width: int,
        prompt: str,
        cut: float | None,
    ) -> None:
        request: GenerationRequest = make_request(
            model=model,
            prompt=prompt,
            num_inference_steps=steps,
            num_images=pictures,
            guidance_scale=guidance_scale,
            tenant=tenant,
            width=width,
            loras=tuple(LoraUse(tag) for tag in tags),
        )
        if cut is not None:
            other = MODELS[1 - MODELS.index(model)]
            segments = (Segment(model, 0, cut), Segment(other, cut, 1))
            request = replace(request, segments=segments)
        events: list[Event] = []
        submission = Submission(request, events.append)
        try:
            self.ledger.admit(submission)
        except RequestError:
            return
        self.submissions.append(submission)
        self.events.append(events)
        self.loop.scheduler.add(submission.jobs)

    @rule(number=st.integers(0, 50))
    def cancel(self, number: int) -> None:
        if self.submissions:
            self.submissions[number % len(self.submissions)].cancel()

    @rule(number=st.integers(0, 50))
    def deadline_passes(self, number: int) -> None:
        if self.submissions:
            for job in self.submissions[number % len(self.submissions)].jobs:
                job.submitted_at -= 1_000

    @rule(model=st.sampled_from(MODELS), fault=st.sampled_from(FAULTS))
    def the_next_pass_fails(self, model: str, fault: Exception) -> None:
        self.models[model].fault = fault

    @rule(name=st.sampled_from([*MODELS, *LORAS]))
    def the_next_load_fails(self, name: str) -> None:
        self.unloadable.add(name)

    @rule(number=st.integers(0, 50))
    def a_job_cannot_be_looked_at(self, number: int) -> None:
        if self.submissions:
            self.weights.unreadable.update(self.submissions[number % len(self.submissions)].jobs)

    @rule()
    def everything_is_ended(self) -> None:
        """As when the engine is closed without time."""
        for job in self.ledger.open_jobs:
            if not job.decoded:
                self.ledger.fail(job, RequestError(ErrorCode.NOT_READY, "closed"))

    @rule(turns=st.integers(1, 8))
    def turn(self, turns: int) -> None:
        with torch.inference_mode():
            for _ in range(turns):
                if not self.loop.turn():
                    time.sleep(0.001)  # a load is in progress

    @invariant()
    def waiting_jobs_hold_nothing(self) -> None:
        if hasattr(self, "loop"):
            assert all(job.state is None for job in self.loop.scheduler.waiting)
            assert all(job.state is not None for job in self.loop.scheduler.in_progress)

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        for model in self.models.values():
            model.fault = None
        give_up = time.monotonic() + 30
        while self.loop.scheduler.jobs:
            assert time.monotonic() < give_up, "jobs are left"
            self.turn(1)
        self.loop.close()
        assert self.ledger.open_jobs == []
        assert self.loop.scheduler.in_progress == []
        for cache, names in ((self.cache, MODELS), (self.loras, LORAS)):
            assert cache.memory(name for name in names if cache.available(name)) <= 8
        jobs = [job for submission in self.submissions for job in submission.jobs]
        assert sum(self.recorder.outcomes.values()) == len(jobs), "a job ended twice, or never"
        assert all(job.state is None and job.handover is None for job in jobs)
        for submission, events in zip(self.submissions, self.events, strict=True):
            assert [ends(event) for event in events[:-1]] == [False] * (len(events) - 1)
            assert ends(events[-1])
            if isinstance(events[-1], Image):
                indices = Counter(event.index for event in events if isinstance(event, Image))
                assert indices == Counter(range(len(submission.jobs)))
            else:
                assert isinstance(events[-1], Failed)
        assert sum(self.recorder.row_outcomes.values()) == sum(
            done.rows for done in self.recorder.passes
        ), "rows without an outcome"


def test_any_order(caplog: pytest.LogCaptureFixture) -> None:
    # Thousands of tracebacks of faults that are meant to be there.
    caplog.set_level(logging.CRITICAL)
    run_state_machine_as_test(
        Interleaving,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_lost_device_is_told_from_other_faults() -> None:
    assert not any(is_fatal(fault) for fault in FAULTS)
    assert is_fatal(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert issubclass(DeviceLost, Exception)
