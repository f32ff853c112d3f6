"""Jobs of several segments: one picture by two models, in one queue with all others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import PIL.Image
import pytest
import torch

from contract.errors import ErrorCode
from contract.events import Progress
from contract.request import GenerationRequest, Segment
from engine.engine import Engine
from engine.pipelines.base import DiffusionModel, SegmentRequest
from engine.pipelines.stable_diffusion import StableDiffusion
from engine.weights.cache import WeightCache
from engine.weights.source import Source
from tests.conftest import make_request
from tests.unit.engine.conftest import Client, Recorder, pixels
from tests.unit.engine.reference import MASK, decode

STEPS = 8
HALVES = (Segment("embedded", 0.0, 0.5), Segment("embedded", 0.5, 1.0))
HANDED_OVER = (Segment("embedded", 0.0, 0.5), Segment("other", 0.5, 1.0))


def request(**changes: Any) -> GenerationRequest:
    return make_request(**{"num_inference_steps": STEPS, "segments": HANDED_OVER, **changes})


@pytest.fixture(scope="module")
def other(pipeline: Any) -> StableDiffusion:
    """Another model: the embedded one with other weights."""
    unet = type(pipeline.unet).from_config(pipeline.unet.config)
    weights = pipeline.unet.state_dict()
    unet.load_state_dict({name: weight * 1.02 for name, weight in weights.items()})
    return StableDiffusion(
        type(pipeline)(
            **{**pipeline.components, "unet": unet.eval()}, requires_safety_checker=False
        )
    )


@pytest.fixture
def two_models(
    model: StableDiffusion, other: StableDiffusion, recorder: Recorder
) -> Iterator[Engine]:
    """With memory for one of them."""
    sources: dict[str, Source[DiffusionModel]] = {
        "embedded": Source(lambda: model, 4),
        "other": Source(lambda: other, 4),
    }
    engine = Engine(WeightCache(sources, budget=4, observer=recorder), observer=recorder)
    yield engine
    engine.close()


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "euler_a", "lcm"])
def test_two_segments_of_one_model_are_the_whole(engine: Engine, scheduler: str) -> None:
    """Of schedulers without a history and of one evaluation a step. Others begin the history again,
    and Heun's a whole step, as a second stock pipeline does."""
    whole = Client(engine, request(scheduler=scheduler, segments=())).image()
    halves = Client(engine, request(scheduler=scheduler, segments=HALVES)).image()
    assert pixels(halves) == pytest.approx(pixels(whole), abs=1)


@pytest.mark.parametrize("strength", [0.2, 0.7, 1.0])
@pytest.mark.parametrize("scheduler", ["ddim", "euler"])
@pytest.mark.parametrize("inpainted", [False, True])
def test_two_segments_are_the_whole_of_what_starts_from_a_picture(
    engine: Engine, photo: bytes, scheduler: str, strength: float, inpainted: bool
) -> None:
    """At 0.2, the first segment has nothing to do."""
    changes: dict[str, Any] = {"init_image": photo, "strength": strength, "scheduler": scheduler}
    if inpainted:
        changes["mask"] = MASK
    whole = Client(engine, request(segments=(), num_inference_steps=10, **changes)).image()
    halves = Client(engine, request(segments=HALVES, num_inference_steps=10, **changes)).image()
    assert pixels(halves) == pytest.approx(pixels(whole), abs=1)


def by_hand(
    model: StableDiffusion, other: StableDiffusion, wanted: GenerationRequest
) -> list[PIL.Image.Image]:
    """Both segments one after the other, alone."""
    handover = None
    with torch.inference_mode():
        for one, segment in zip((model, other), HANDED_OVER, strict=True):
            (state,) = one.prepare([SegmentRequest(wanted, segment, handover)])
            while not state.finished:
                (prediction,) = one.forward([state], state.rows)
                state.advance(prediction)
            handover = state.hand_over()
        return decode(other, [state])


@pytest.mark.parametrize("task", ["txt2img", "img2img", "inpaint"])
def test_what_shares_the_passes_of_both_models_does_not_matter(
    two_models: Engine,
    model: StableDiffusion,
    other: StableDiffusion,
    recorder: Recorder,
    photo: bytes,
    task: str,
) -> None:
    changes: dict[str, Any] = {} if task == "txt2img" else {"init_image": photo, "strength": 0.9}
    if task == "inpaint":
        changes["mask"] = MASK
    wanted = request(**changes)
    (expected,) = by_hand(model, other, wanted)
    neighbours = [
        *(Client(two_models, request(segments=(), seed=seed)) for seed in range(2)),
        *(Client(two_models, request(segments=(), seed=seed, model="other")) for seed in range(2)),
        *(Client(two_models, request(seed=seed)) for seed in range(2)),
    ]
    picture = pixels(Client(two_models, wanted).image())
    for client in neighbours:
        client.image()
    assert picture == pytest.approx(list(expected.tobytes()), abs=1)
    assert {done.model for done in recorder.passes} == {"embedded", "other"}
    assert max(recorder.batches) > 2, "jobs of several segments share passes too"


def test_progress_counts_both_segments(two_models: Engine) -> None:
    client = Client(two_models, request(wants_progress=True, num_inference_steps=30))
    client.image()
    steps = [event.step for event in client.events if isinstance(event, Progress)]
    assert steps == sorted(steps)
    assert {event.total for event in client.events if isinstance(event, Progress)} == {30}


def test_many_jobs_between_two_models_do_not_swap_for_each_picture(
    two_models: Engine, recorder: Recorder
) -> None:
    clients = [Client(two_models, request(seed=seed, num_inference_steps=4)) for seed in range(8)]
    for client in clients:
        client.image()
    loads = [name for name, loaded in recorder.loads if loaded]
    assert len(loads) <= 6, loads


def test_a_job_between_two_models_can_be_cancelled(
    model: StableDiffusion, other: StableDiffusion
) -> None:
    loading, go_on = threading.Event(), threading.Event()

    def slowly() -> DiffusionModel:
        loading.set()
        assert go_on.wait(60)
        return other

    there: Source[DiffusionModel] = Source(lambda: model)
    engine = Engine(WeightCache({"embedded": there, "other": Source(slowly)}))
    between = Client(engine, request())
    assert loading.wait(60)
    Client(engine, request(segments=())).image()
    between.submission.cancel()
    assert between.failed().code is ErrorCode.CANCELLED
    go_on.set()
    engine.close()
