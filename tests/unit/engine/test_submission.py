"""What becomes of a request: its events, its pictures, its end."""

from __future__ import annotations

import pytest

from contract.errors import ErrorCode, RequestError
from contract.events import Event, Failed, Image, Progress, Queued
from engine.blocking import generate
from engine.engine import Engine
from engine.limits import BatchLimits
from engine.pipelines.stable_diffusion import StableDiffusion
from engine.weights.cache import WeightCache
from tests.conftest import make_request
from tests.unit.engine.conftest import Client, Gate, Recorder, pixels


def test_events_come_in_order(engine: Engine) -> None:
    client = Client(engine, make_request(num_inference_steps=5, wants_progress=True))
    client.image()
    kinds = [type(event) for event in client.events]
    assert kinds[0] is Queued
    assert kinds[-1] is Image
    steps = [event for event in client.events if isinstance(event, Progress)]
    assert steps
    assert all(event.total == 5 for event in steps)
    assert [event.step for event in steps] == sorted({event.step for event in steps})


def test_no_progress_unless_asked_for(engine: Engine) -> None:
    client = Client(engine, make_request())
    client.image()
    assert not [event for event in client.events if isinstance(event, Progress)]


def test_a_full_queue_refuses_with_an_estimate(gate: Gate, gated: Engine) -> None:
    clients = [Client(gated, make_request(num_inference_steps=1)) for _ in range(4)]
    with pytest.raises(RequestError, match="the limit is 4") as refusal:
        gated.submit(make_request(), lambda event: None)
    assert refusal.value.code is ErrorCode.BUSY
    assert refusal.value.retry_after is not None
    assert 1 <= refusal.value.retry_after <= 120
    gate.open.set()
    for client in clients:
        client.image()
    Client(gated, make_request(num_inference_steps=1)).image()


def test_one_client_does_not_fill_the_queue(model: StableDiffusion) -> None:
    engine = Engine(WeightCache.preloaded({"embedded": model}), max_queue=5, max_per_tenant=3)
    ours = {"tenant": "192.0.2.7", "num_inference_steps": 1}
    clients = [Client(engine, make_request(**ours, num_images=3))]
    with pytest.raises(
        RequestError,
        match=r"3 pictures of this client .* the limit for one client is 3 "
        r"\(SD_MAX_QUEUE_PER_CLIENT\)",
    ) as refusal:
        engine.submit(make_request(**ours), lambda event: None)
    assert refusal.value.code is ErrorCode.BUSY
    assert refusal.value.retry_after is not None
    modest = {**ours, "tenant": "sd_0123456789ab", "tenant_places": 1}
    with pytest.raises(RequestError, match=r"the limit for its key is 1 \(max_queued\)"):
        engine.submit(make_request(**modest, num_images=2), lambda event: None)
    clients.append(Client(engine, make_request(**modest)))
    for client in clients:
        client.image()
    Client(engine, make_request(**ours, num_images=3)).image()
    engine.close()


def test_a_picture_that_is_too_large_for_its_model_is_refused(model: StableDiffusion) -> None:
    engine = Engine(WeightCache.preloaded({"embedded": model}), max_pixels={"embedded": 5000})
    with pytest.raises(
        RequestError,
        match=r"width x height must be at most 5000 pixels with embedded, .*SD_MAX_PASS_SECONDS, "
        r"got 128 x 64",
    ) as refusal:
        engine.submit(make_request(width=128, height=64), lambda event: None)
    assert refusal.value.code is ErrorCode.OUT_OF_RANGE
    assert refusal.value.field == "width"
    Client(engine, make_request(width=72, height=64, num_inference_steps=1)).image()
    engine.close()


def test_a_cancelled_job_leaves_and_hurts_nobody(
    gate: Gate, gated: Engine, recorder: Recorder
) -> None:
    keep = Client(gated, make_request(num_inference_steps=10))
    drop = Client(gated, make_request(num_inference_steps=100))
    assert gate.entered.wait(60)
    drop.submission.cancel()
    gate.open.set()
    assert drop.failed().code is ErrorCode.CANCELLED
    keep.image()
    assert recorder.outcomes == {"ok": 1, "cancelled": 1}
    assert len(recorder.batches) == 10, "the cancelled job went on"


def test_a_waiting_job_can_be_cancelled(gate: Gate, model: StableDiffusion) -> None:
    engine = Engine(WeightCache.preloaded({"embedded": gate}), limits=BatchLimits(rows=2))
    running = Client(engine, make_request(num_inference_steps=3))
    assert gate.entered.wait(60)
    waiting = Client(engine, make_request())
    assert waiting.events == [Queued(0)]
    waiting.submission.cancel()
    gate.open.set()
    assert waiting.failed().code is ErrorCode.CANCELLED
    running.image()
    engine.close()


def test_the_deadline_ends_a_job(gated: Engine, gate: Gate) -> None:
    client = Client(gated, make_request(deadline=0.01, num_inference_steps=100))
    gate.open.set()
    assert client.failed().code is ErrorCode.DEADLINE_EXCEEDED


def test_an_unknown_model_is_refused(engine: Engine) -> None:
    with pytest.raises(RequestError) as refusal:
        engine.submit(make_request(model="missing"), lambda event: None)
    assert refusal.value.code is ErrorCode.NOT_FOUND


def test_close_lets_accepted_jobs_finish(gate: Gate, model: StableDiffusion) -> None:
    engine = Engine(WeightCache.preloaded({"embedded": gate}))
    client = Client(engine, make_request())
    gate.open.set()
    engine.close(timeout=60)
    client.image()
    with pytest.raises(RequestError) as refusal:
        engine.submit(make_request(), lambda event: None)
    assert refusal.value.code is ErrorCode.NOT_READY


def test_close_without_time_fails_what_is_left(model: StableDiffusion) -> None:
    engine = Engine(WeightCache.preloaded({"embedded": model}))
    client = Client(engine, make_request(num_inference_steps=150))
    engine.close()
    assert client.failed().code is ErrorCode.NOT_READY


def test_several_pictures_are_jobs_of_their_own_that_share_passes(
    engine: Engine, recorder: Recorder
) -> None:
    several = Client(engine, make_request(num_images=3, seed=40, guidance_scale=1.0))
    several.image()
    images = [event for event in several.events if isinstance(event, Image)]
    assert sorted(image.index for image in images) == [0, 1, 2]
    assert [image.last for image in images] == [False, False, True]
    assert recorder.batches == [3] * 8
    for image in images:
        alone = Client(engine, make_request(seed=40 + image.index, guidance_scale=1.0)).image()
        assert image.seed == alone.seed
        assert pixels(image) == pytest.approx(pixels(alone), abs=1)


def test_several_pictures_need_room_for_all_of_them(gate: Gate, gated: Engine) -> None:
    Client(gated, make_request(num_images=2, num_inference_steps=1))
    with pytest.raises(RequestError, match="2 pictures are waiting or being made, the limit is 4"):
        gated.submit(make_request(num_images=3), lambda event: None)
    Client(gated, make_request(num_images=2, num_inference_steps=1))
    gate.open.set()


def test_one_lost_picture_ends_the_others_of_its_request(
    engine: Engine, recorder: Recorder
) -> None:
    client = Client(engine, make_request(num_images=4, guidance_scale=3e38))
    assert client.failed().code is ErrorCode.INTERNAL
    assert [type(event) for event in client.events].count(Failed) == 1
    Client(engine, make_request()).image()
    assert recorder.outcomes.total() == 5


def test_a_listener_that_fails_takes_nobody_along(engine: Engine) -> None:
    def fail(event: Event) -> None:
        raise OSError("nobody there")

    engine.submit(make_request(num_inference_steps=2), fail)
    Client(engine, make_request(num_inference_steps=3)).image()


def test_pictures_may_have_prompts_of_their_own(engine: Engine) -> None:
    prompts = ("a red apple", "a yellow banana on a white background")
    together = make_request(prompt=prompts[0], prompts=prompts, num_images=2, num_inference_steps=4)
    images = generate(engine, together)
    assert tuple(image.prompt for image in images) == prompts
    for image, prompt in zip(images, prompts, strict=True):
        request = make_request(prompt=prompt, seed=image.seed, num_inference_steps=4)
        (alone,) = generate(engine, request)
        assert alone.prompt == prompt
        assert pixels(image) == pytest.approx(pixels(alone), abs=1)
