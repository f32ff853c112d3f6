"""The loop: admission, batching, cancel, deadlines, faults."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from io import BytesIO
from itertools import groupby, pairwise

import PIL.Image
import pytest

from engine.batch import BatchLimits
from engine.engine import Engine
from engine.errors import ErrorCode, RequestError
from engine.events import Event, Failed, Image, Progress, Queued, from_line, to_line
from engine.families.stable_diffusion import StableDiffusion
from engine.observer import Fate
from engine.request import OutputFormat
from engine.residency import Residency
from engine.state import DenoisingState
from engine.stream import stream
from engine.threads import ThreadTuner, Way
from tests.conftest import make_request
from tests.unit.engine.conftest import Client, Gate, Recorder


@pytest.fixture
def gated(gate: Gate, recorder: Recorder) -> Iterator[Engine]:
    engine = Engine(Residency.preloaded({"embedded": gate}), observer=recorder, max_queue=4)
    yield engine
    gate.open.set()
    engine.close()


def test_a_new_job_joins_a_running_one(gate: Gate, gated: Engine, recorder: Recorder) -> None:
    first = Client(gated, make_request(num_inference_steps=30))
    assert gate.entered.wait(60)
    second = Client(gated, make_request(num_inference_steps=3))
    gate.open.set()
    second.image()
    assert not isinstance(first.events[-1], Image), "the short job waited for the long one"
    first.image()
    assert recorder.batches == [1] + [2] * 3 + [1] * 26
    assert recorder.rows == [2 * jobs for jobs in recorder.batches]


def test_guidance_off_takes_one_row(engine: Engine, recorder: Recorder) -> None:
    Client(engine, make_request(guidance_scale=1.0, num_inference_steps=2)).image()
    assert recorder.rows == [1, 1]


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


def test_a_waiting_job_can_be_cancelled(gate: Gate, family: StableDiffusion) -> None:
    engine = Engine(Residency.preloaded({"embedded": gate}), limits=BatchLimits(rows=2))
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


def test_a_pass_that_does_not_fit_is_halved(gate: Gate, gated: Engine, recorder: Recorder) -> None:
    gate.memory = 2
    clients = [Client(gated, make_request(seed=seed)) for seed in range(3)]
    gate.open.set()
    for client in clients:
        client.image()
    assert set(recorder.batches) == {1}


def test_a_broken_pass_fails_its_jobs_and_not_the_engine(gate: Gate, gated: Engine) -> None:
    gate.broken = True
    clients = [Client(gated, make_request()) for _ in range(2)]
    gate.open.set()
    for client in clients:
        end = client.result()
        assert isinstance(end, Failed)
        assert end.code is ErrorCode.INTERNAL
        assert "secret" not in end.message
    gate.broken = False
    Client(gated, make_request()).image()


def test_what_is_not_finite_fails_its_own_job_only(engine: Engine) -> None:
    healthy = Client(engine, make_request())
    overflowing = Client(engine, make_request(guidance_scale=3e38))
    assert overflowing.failed().code is ErrorCode.INTERNAL
    healthy.image()


def test_an_unknown_model_is_refused(engine: Engine) -> None:
    with pytest.raises(RequestError) as refusal:
        engine.submit(make_request(model="missing"), lambda event: None)
    assert refusal.value.code is ErrorCode.NOT_FOUND


def test_close_lets_accepted_jobs_finish(gate: Gate, family: StableDiffusion) -> None:
    engine = Engine(Residency.preloaded({"embedded": gate}))
    client = Client(engine, make_request())
    gate.open.set()
    engine.close(timeout=60)
    client.image()
    with pytest.raises(RequestError) as refusal:
        engine.submit(make_request(), lambda event: None)
    assert refusal.value.code is ErrorCode.NOT_READY


def test_close_without_time_fails_what_is_left(family: StableDiffusion) -> None:
    engine = Engine(Residency.preloaded({"embedded": family}))
    client = Client(engine, make_request(num_inference_steps=150))
    engine.close()
    assert client.failed().code is ErrorCode.NOT_READY


def test_shapes_take_turns(family: StableDiffusion, recorder: Recorder) -> None:
    engine = Engine(Residency.preloaded({"embedded": family}), observer=recorder)
    large = Client(engine, make_request(width=128, height=128, num_inference_steps=30))
    small = [Client(engine, make_request(num_inference_steps=4)) for _ in range(3)]
    for client in small:
        client.image()
    assert not isinstance(large.events[-1], Image), "the small jobs waited for the large one"
    large.image()
    engine.close()


def test_the_stream_ends_with_the_picture_and_cancels_when_closed(
    engine: Engine, recorder: Recorder
) -> None:
    async def run() -> list[Event]:
        async with aclosing(stream(engine, make_request(num_inference_steps=150))) as abandoned:
            async for _ in abandoned:
                break
        return [event async for event in stream(engine, make_request())]

    events = asyncio.run(run())
    assert isinstance(events[0], Queued)
    assert isinstance(events[-1], Image)
    assert recorder.outcomes == {"ok": 1, "cancelled": 1}


def test_a_refused_stream_says_so() -> None:
    async def run() -> list[Event]:
        engine = Engine(Residency.preloaded({}))
        events = [event async for event in stream(engine, make_request())]
        engine.close()
        return events

    (event,) = asyncio.run(run())
    assert isinstance(event, Failed)
    assert event.code is ErrorCode.NOT_FOUND


@pytest.mark.parametrize(
    "event",
    [
        Queued(3),
        Progress(1, 20),
        Image(b"\x00\xff", "image/png", 64, 64, 5),
        Failed(ErrorCode.BUSY, "naïve ☃", "seed", 1.5),
    ],
)
def test_events_survive_the_wire(event: Event) -> None:
    line = to_line(event)
    assert line.isascii()
    assert line.count("\n") == 1
    assert from_line(line) == event


@pytest.mark.parametrize("line", ["{}", "[]", '{"event": "image"}', '{"event": "x"}', "nonsense"])
def test_other_lines_are_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"event|Expecting"):
        from_line(line)


@pytest.mark.parametrize("output_format", list(OutputFormat))
def test_the_file_carries_its_parameters(engine: Engine, output_format: OutputFormat) -> None:
    request = make_request(
        prompt="a ☃ snowman", negative_prompt="a cat", output_format=output_format
    )
    image = Client(engine, request).image()
    picture = PIL.Image.open(BytesIO(image.data))
    assert picture.format == output_format.name
    assert image.media_type == f"image/{output_format.value}"
    if output_format is OutputFormat.PNG:
        text = picture.info["parameters"]
    else:
        comment = picture.getexif().get_ifd(0x8769)[0x9286]
        assert comment.startswith(b"UNICODE\0")
        text = comment[8:].decode("utf-16-be")
    assert text == (
        "a ☃ snowman\nNegative prompt: a cat\n"
        "Steps: 8, Sampler: ddim, CFG scale: 3.0, Seed: 7, Size: 64x64, Model: embedded"
    )


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


def test_a_broken_request_does_not_spoil_the_admission_of_others(gate: Gate, gated: Engine) -> None:
    first = Client(gated, make_request(num_inference_steps=2))
    assert gate.entered.wait(60)
    healthy = Client(gated, make_request())
    broken = Client(gated, make_request(scheduler="no such scheduler"))
    gate.open.set()
    assert broken.failed().code is ErrorCode.INTERNAL
    healthy.image()
    first.image()


def test_admission_and_decoding_come_between_steps_one_at_a_time(gate: Gate, gated: Engine) -> None:
    """A running job waits for at most one batch of other work between two of its steps."""
    long = Client(gated, make_request(num_inference_steps=40))
    assert gate.entered.wait(60)
    short = [Client(gated, make_request(seed=seed, num_inference_steps=4)) for seed in range(3)]
    gate.open.set()
    for client in short:
        client.image()
    long.image()
    calls = [call.split()[0] for call in gate.calls]
    running = calls[calls.index("forward") : len(calls) - calls[::-1].index("forward")]
    assert {"prepare", "decode"} <= set(running)
    for call, following in pairwise(running):
        assert "forward" in (call, following), "two pieces of other work in a row"


def test_waiting_jobs_are_prepared_together_and_finished_ones_decoded_together(
    gate: Gate, gated: Engine
) -> None:
    blocker = Client(gated, make_request(num_inference_steps=1))
    assert gate.entered.wait(60)
    clients = [Client(gated, make_request(seed=seed)) for seed in range(3)]
    gate.open.set()
    for client in [blocker, *clients]:
        client.image()
    assert "prepare 3" in gate.calls
    assert "decode 3" in gate.calls


def test_a_pass_in_two_parts_makes_the_same_pictures(
    family: StableDiffusion, engine: Engine, recorder: Recorder
) -> None:
    requests = [
        make_request(seed=seed, guidance_scale=scale, num_inference_steps=4 + seed)
        for seed, scale in enumerate([3.0, 1.0, 3.0, 1.0, 1.0])
    ]
    whole = [Client(engine, request).image() for request in requests]
    divided = Recorder()
    halving = Engine(
        Residency.preloaded({"embedded": family}),
        threads=ThreadTuner([Way(1, parts=2)]),
        observer=divided,
    )
    clients = [Client(halving, request) for request in requests]
    for client, expected in zip(clients, whole, strict=True):
        assert pixels(client.image()) == pytest.approx(pixels(expected), abs=1)
    halving.close()
    assert max(divided.batches) > 2
    assert sum(divided.rows) == sum(recorder.rows)


def test_a_pass_that_breaks_in_one_of_two_parts_fails_and_the_next_one_runs(gate: Gate) -> None:
    engine = Engine(Residency.preloaded({"embedded": gate}), threads=ThreadTuner([Way(1, parts=2)]))
    gate.memory = 2  # a part has more than that, until the batch is halved
    gate.open.set()
    clients = [Client(engine, make_request(seed=seed)) for seed in range(4)]
    for client in clients:
        client.image()
    gate.broken = True
    for client in [Client(engine, make_request(seed=seed)) for seed in range(3)]:
        assert client.failed().code is ErrorCode.INTERNAL
    gate.broken = False
    Client(engine, make_request()).image()
    engine.close()


def test_many_pictures_are_not_encoded_beside_a_running_job_at_once(
    gate: Gate, gated: Engine, photo: bytes
) -> None:
    """What the prompts of a few jobs cost says nothing about the pictures of others."""
    for _ in range(3):
        for client in [Client(gated, make_request(num_inference_steps=1)) for _ in range(3)]:
            gate.open.set()
            client.image()
    gate.calls.clear()
    gate.open.clear()
    gate.entered.clear()
    long = Client(gated, make_request(num_inference_steps=20))
    assert gate.entered.wait(60)
    several = Client(gated, make_request(init_image=photo, strength=0.5, num_images=3))
    gate.open.set()
    several.image()
    long.image()
    assert [call for call in gate.calls if call.startswith("prepare")][1] == "prepare 1"


def test_a_request_that_comes_during_a_decoding_is_taken_up_at_once(
    gate: Gate, gated: Engine
) -> None:
    gate.open.set()
    later: list[Client] = []
    decode = gate.decode

    def decode_and_submit(states: Sequence[DenoisingState]) -> list[PIL.Image.Image]:
        if not later:
            later.append(Client(gated, make_request(num_inference_steps=1)))
        return decode(states)

    gate.decode = decode_and_submit  # type: ignore[method-assign]
    waits = 0
    wait = gated._wake.wait

    def count(timeout: float | None = None) -> bool:
        nonlocal waits
        waits += timeout is not None
        return wait(timeout)

    gated._wake.wait = count  # type: ignore[method-assign]
    Client(gated, make_request(num_inference_steps=1)).image()
    later[0].image()
    assert waits == 0, "it slept while there was work"


def test_a_listener_that_fails_takes_nobody_along(engine: Engine) -> None:
    def fail(event: Event) -> None:
        raise OSError("nobody there")

    engine.submit(make_request(num_inference_steps=2), fail)
    Client(engine, make_request(num_inference_steps=3)).image()


def test_a_stream_of_small_requests_and_a_large_one_both_progress(
    family: StableDiffusion, recorder: Recorder
) -> None:
    engine = Engine(Residency.preloaded({"embedded": family}), observer=recorder)
    large = Client(
        engine, make_request(request_id="large", width=128, height=128, num_inference_steps=50)
    )
    finished = 0
    while not isinstance(large.events[-1], Image):
        small = [
            Client(engine, make_request(request_id="small", seed=seed, num_inference_steps=10))
            for seed in range(2)
        ]
        for client in small:
            client.image()
            finished += 1
    engine.close()
    turns = [done.jobs[0].split("#")[0] for done in recorder.passes]
    last = len(turns) - turns[::-1].index("large")
    longest = max(len(list(group)) for _, group in groupby(turns[turns.index("large") : last]))
    assert finished >= 6
    # A third of the passes may be taken by small ones that were admitted in between.
    assert longest <= 3, turns


def test_previews_look_like_what_becomes_of_them(engine: Engine) -> None:
    client = Client(engine, make_request(num_inference_steps=30, wants_previews=True))
    final = PIL.Image.open(BytesIO(client.image().data))
    progress = [event for event in client.events if isinstance(event, Progress)]
    assert progress
    previews = [event.preview for event in progress if event.preview is not None]
    assert len(previews) >= len(progress) - 1
    preview = PIL.Image.open(BytesIO(previews[-1]))
    assert preview.format == "PNG"
    assert preview.size == (16, 16)
    assert preview.mode == final.mode == "RGB"


def test_row_steps_are_accounted_for_by_what_became_of_them(gate: Gate, recorder: Recorder) -> None:
    engine = Engine(
        Residency.preloaded({"embedded": gate}),
        limits=BatchLimits(buckets=(8,)),
        observer=recorder,
    )
    keep = Client(engine, make_request(num_inference_steps=6))
    assert gate.entered.wait(60)
    lost = Client(engine, make_request(num_inference_steps=6, guidance_scale=3e38))
    gate.open.set()
    keep.image()
    lost.failed()
    gate.entered.clear()
    gate.open.clear()
    given_up = Client(engine, make_request(num_inference_steps=6))
    assert gate.entered.wait(60)
    given_up.submission.cancel()
    gate.open.set()
    given_up.failed()
    engine.close()
    assert recorder.fates[Fate.USEFUL] == 2 * 6
    assert recorder.fates[Fate.LOST] == 2 * 6
    assert recorder.fates[Fate.WASTED] == 2, "the pass that was under way"
    assert sum(recorder.fates.values()) == sum(recorder.rows) == 8 * len(recorder.passes)


def pixels(image: Image) -> list[int]:
    return list(PIL.Image.open(BytesIO(image.data)).tobytes())
