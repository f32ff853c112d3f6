"""Decoding in batches, and what becomes of a batch with a job that cannot be decoded."""

from __future__ import annotations

from collections.abc import Sequence

import PIL.Image
import pytest
import torch

from engine.denoising.state import DenoisingState
from engine.job import Job
from engine.pipelines.stable_diffusion import StableDiffusion
from engine.stages.decode import DecodeStage
from tests.conftest import make_request
from tests.unit.engine.conftest import Gate, Recorder
from tests.unit.engine.reference import prepare


@pytest.fixture
def jobs(model: StableDiffusion) -> list[Job]:
    requests = [make_request(seed=seed) for seed in range(3)]
    with torch.inference_mode():
        states = prepare(model, requests)
    return [
        Job(request, 0, lambda event: None, state=state)
        for request, state in zip(requests, states, strict=True)
    ]


@pytest.fixture
def decoder(recorder: Recorder) -> DecodeStage:
    return DecodeStage(recorder)


def test_what_is_not_finite_is_set_aside_and_the_rest_decoded_at_once(
    gate: Gate, jobs: list[Job], decoder: DecodeStage, recorder: Recorder
) -> None:
    jobs[1].denoising.latents = torch.full_like(jobs[1].denoising.latents, torch.nan)
    with torch.inference_mode():
        results = dict(decoder.run(gate, jobs))
    assert gate.calls == ["decode 2"]
    assert isinstance(results[jobs[1]], ArithmeticError)
    assert {type(results[job]) for job in (jobs[0], jobs[2])} == {PIL.Image.Image}
    assert recorder.phases["decode"] == 2


def test_nothing_is_decoded_where_nothing_is_finite(
    gate: Gate, jobs: list[Job], decoder: DecodeStage
) -> None:
    for job in jobs:
        job.denoising.latents = torch.full_like(job.denoising.latents, torch.inf)
    results = decoder.run(gate, jobs)
    assert gate.calls == []
    assert [type(result) for _, result in results] == [ArithmeticError] * 3


def test_a_batch_that_does_not_fit_is_halved(
    gate: Gate, jobs: list[Job], decoder: DecodeStage
) -> None:
    decode = gate.decode

    def small(states: Sequence[DenoisingState]) -> list[PIL.Image.Image | ArithmeticError]:
        pictures = decode(states)
        if jobs[2].denoising in states:
            raise torch.OutOfMemoryError("does not fit")
        return pictures

    gate.decode = small  # type: ignore[method-assign]
    with torch.inference_mode():
        results = dict(decoder.run(gate, jobs))
    assert gate.calls == ["decode 3", "decode 1", "decode 2", "decode 1", "decode 1"]
    assert isinstance(results[jobs[2]], torch.OutOfMemoryError)
    assert {type(results[job]) for job in jobs[:2]} == {PIL.Image.Image}


def test_an_overflow_of_the_autoencoder_fails_its_own_job_only(
    gate: Gate, jobs: list[Job], decoder: DecodeStage
) -> None:
    """What is not a number would be black. Some VAEs do so in fp16."""
    latents = jobs[1].denoising.latents
    # Finite, but not any more when it is divided by the VAE's scaling factor.
    jobs[1].denoising.latents = torch.full_like(latents, torch.finfo(latents.dtype).max)
    with torch.inference_mode():
        results = dict(decoder.run(gate, jobs))
    assert gate.calls == ["decode 3"], "what can be decoded is decoded once"
    assert isinstance(results[jobs[1]], ArithmeticError)
    assert "decoded pixels are not finite" in str(results[jobs[1]])
    assert {type(results[job]) for job in (jobs[0], jobs[2])} == {PIL.Image.Image}


def test_another_error_than_out_of_memory_is_not_tried_again(
    gate: Gate, jobs: list[Job], decoder: DecodeStage
) -> None:
    calls: list[int] = []

    def broken(states: Sequence[DenoisingState]) -> list[PIL.Image.Image | ArithmeticError]:
        calls.append(len(states))
        raise RuntimeError("broken")

    gate.decode = broken  # type: ignore[method-assign]
    results = dict(decoder.run(gate, jobs))
    assert calls == [3]
    assert [type(results[job]) for job in jobs] == [RuntimeError] * 3
