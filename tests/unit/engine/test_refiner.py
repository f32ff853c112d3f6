"""SDXL and its refiner as two segments of a job: the pictures of the two stock pipelines."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from contract.events import Progress
from contract.request import GenerationRequest, Segment
from engine.denoising.samplers import SAMPLERS
from engine.engine import Engine
from engine.pipelines.base import DiffusionModel, SegmentRequest
from engine.pipelines.stable_diffusion import StableDiffusion
from engine.pipelines.stable_diffusion_xl import StableDiffusionXL
from engine.weights.cache import WeightCache
from engine.weights.source import Source
from models.architectures import ENSEMBLE_SCHEDULERS
from tests.conftest import make_request
from tests.unit.engine.conftest import Client, Recorder, pixels
from tests.unit.engine.reference import in_channels_last, stock
from tests.unit.models import tiny

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

SIDE = 32
SETTINGS = [
    (scheduler, steps, switch)
    for (steps, switch), scheduler in product([(10, 0.8), (6, 0.5)], ENSEMBLE_SCHEDULERS)
]


def request(scheduler: str = "euler", switch: float = 0.8, **changes: Any) -> GenerationRequest:
    fields: dict[str, Any] = {
        "model": "base",
        "scheduler": scheduler,
        "width": SIDE,
        "height": SIDE,
        "num_inference_steps": 10,
        "segments": (Segment("base", 0.0, switch), Segment("refiner", switch, 1.0)),
        "aesthetic_score": 7.0,
        "prompt_2": "a house",
        "guidance_rescale": 0.3,
    }
    return make_request(**{**fields, **changes})


@pytest.fixture(scope="module")
def base_reference() -> Any:
    return in_channels_last(tiny.sdxl(refiner=False))


@pytest.fixture(scope="module")
def refiner_reference() -> Any:
    return in_channels_last(tiny.sdxl(refiner=True))


@pytest.fixture(scope="module")
def base() -> StableDiffusionXL:
    return StableDiffusionXL(tiny.sdxl(refiner=False))


@pytest.fixture(scope="module")
def refiner() -> StableDiffusionXL:
    return StableDiffusionXL(tiny.sdxl(refiner=True))


def stock_pair(base: Any, refiner: Any, wanted: GenerationRequest, output_type: str) -> Any:
    """The two stock pipelines one after the other, with one generator."""
    switch = wanted.segments[0].end
    generator = torch.Generator("cpu").manual_seed(wanted.seed)
    latents = stock(base, wanted, "latent", denoising_end=switch, generator=generator)
    return stock(
        refiner, wanted, output_type, image=latents, denoising_start=switch, generator=generator
    )


def by_hand(
    base: DiffusionModel, refiner: DiffusionModel, wanted: GenerationRequest
) -> tuple[torch.Tensor, list[int]]:
    """The latents of both segments one after the other, alone, and the evaluations of each."""
    handover, counts = None, []
    with torch.inference_mode():
        for model, segment in zip((base, refiner), wanted.segments, strict=True):
            (state,) = model.prepare([SegmentRequest(wanted, segment, handover)])
            while not state.finished:
                state.advance(model.forward([state], state.rows)[0])
            counts.append(state.total)
            handover = state.hand_over()
    return state.latents, counts


@pytest.mark.parametrize(("scheduler", "steps", "switch"), SETTINGS)
def test_alone_equals_the_two_stock_pipelines(
    base: StableDiffusionXL,
    refiner: StableDiffusionXL,
    base_reference: Any,
    refiner_reference: Any,
    scheduler: str,
    steps: int,
    switch: float,
) -> None:
    wanted = request(scheduler, switch, num_inference_steps=steps)
    expected = stock_pair(base_reference, refiner_reference, wanted, "latent")
    latents, counts = by_hand(base, refiner, wanted)
    assert (latents - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert sum(counts) == steps
    assert all(counts)


@pytest.mark.parametrize("strength", [0.6, 1.0])
def test_what_starts_from_a_picture_equals_the_two_stock_pipelines(
    base: StableDiffusionXL,
    refiner: StableDiffusionXL,
    base_reference: Any,
    refiner_reference: Any,
    strength: float,
) -> None:
    wanted = request(init_image=bytes(range(256)) * 12, strength=strength, scheduler="euler_a")
    expected = stock_pair(base_reference, refiner_reference, wanted, "latent")
    latents, counts = by_hand(base, refiner, wanted)
    assert (latents - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert sum(counts) == 10 * strength


def test_the_switch_is_a_noise_level_and_not_a_number_of_steps(
    base: StableDiffusionXL, refiner: StableDiffusionXL
) -> None:
    """Karras' schedule has more of its steps where there is little noise."""
    assert by_hand(base, refiner, request("euler"))[1] == [8, 2]
    assert by_hand(base, refiner, request("dpmpp_2m_karras"))[1] == [6, 4]


def test_samplers_that_are_left_out_would_go_wrong(
    base: StableDiffusionXL, refiner: StableDiffusionXL
) -> None:
    """Their second segment does again what the first one has done."""
    left_out = set(SAMPLERS) - set(ENSEMBLE_SCHEDULERS)
    assert left_out == {"heun", "pndm"}
    assert sum(by_hand(base, refiner, request("heun"))[1]) == 20


@pytest.fixture
def engine(
    base: StableDiffusionXL, refiner: StableDiffusionXL, recorder: Recorder
) -> Iterator[Engine]:
    """With memory for one of the two models."""
    sources: dict[str, Source[DiffusionModel]] = {
        "base": Source(lambda: base, 4),
        "refiner": Source(lambda: refiner, 4),
    }
    engine = Engine(WeightCache(sources, budget=4, observer=recorder), observer=recorder)
    yield engine
    engine.close()


@pytest.mark.slow
def test_in_company_and_in_turns_equals_the_two_stock_pipelines(
    engine: Engine, recorder: Recorder, base_reference: Any, refiner_reference: Any
) -> None:
    """Of base alone, of refiner alone, and of both, all at once."""
    wanted = [
        request(scheduler, switch, num_inference_steps=steps, seed=seed, crop=(seed, 0))
        for seed, (scheduler, steps, switch) in enumerate(SETTINGS[:7])
    ]
    picture: dict[str, Any] = {"init_image": bytes(SIDE * SIDE * 3), "strength": 0.5}
    others = [
        *(request(segments=(), seed=seed, negative_prompt="a cat") for seed in range(3)),
        *(request(model="refiner", segments=(), seed=seed, **picture) for seed in range(3)),
    ]
    clients = [Client(engine, each) for each in [*others[::2], *wanted, *others[1::2]]]
    done = [client.image() for client in clients]
    for each, image in zip(wanted, done[3:], strict=False):
        expected = stock_pair(base_reference, refiner_reference, each, "pil")[0]
        difference = np.array(pixels(image)) - np.asarray(expected).astype(int).ravel()
        assert np.abs(difference).max() <= 1, each.scheduler
    refining = [done_pass.jobs for done_pass in recorder.passes if done_pass.model == "refiner"]
    assert max(map(len, refining)) > len(wanted), "those of the refiner alone are among them"
    loads = [name for name, loaded in recorder.loads if loaded]
    assert len(loads) <= 6, loads


@pytest.mark.parametrize("scheduler", ["euler", "dpmpp_2m_karras"])
def test_progress_counts_both(engine: Engine, scheduler: str) -> None:
    client = Client(engine, request(scheduler, num_inference_steps=20, wants_progress=True))
    client.image()
    events = [event for event in client.events if isinstance(event, Progress)]
    assert {event.total for event in events} == {20}
    assert [event.step for event in events] == sorted(event.step for event in events)


def test_families_share_the_device_and_no_pass(
    model: StableDiffusion, base: StableDiffusionXL, recorder: Recorder
) -> None:
    """Neither waits for all pictures of the other."""
    engine = Engine(WeightCache.preloaded({"embedded": model, "base": base}), observer=recorder)
    kinds = [make_request(width=SIDE, height=SIDE), request(segments=())] * 3
    clients = [Client(engine, each) for each in kinds]
    for client in clients:
        client.image()
    engine.close()
    models = [done.model for done in recorder.passes]
    assert set(models) == {"embedded", "base"}
    # What was measured of their passes decides how many of one come between those of the other.
    ends = {name: len(models) - models[::-1].index(name) for name in set(models)}
    first = min(ends, key=lambda name: ends[name])
    other = ({"embedded", "base"} - {first}).pop()
    assert models[: ends[first]].count(other) >= 2
