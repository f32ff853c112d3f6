"""Every action, through a real engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import BytesIO
from typing import Any

import numpy as np
import PIL.Image
import pytest

from contract.errors import ErrorCode, RequestError
from contract.events import Image, Progress
from contract.request import GenerationRequest
from contract.screening import Action, CheckName
from engine.engine import Engine
from engine.pipelines.stable_diffusion import StableDiffusion
from engine.screening.appearance import Blank, Grayscale
from engine.screening.nudity import Nudity
from engine.screening.screen import Check, Screen, blurred
from engine.weights.cache import WeightCache
from settings import Settings
from tests.conftest import composite, make_request
from tests.unit.engine.conftest import Client, Recorder

Start = Callable[..., Engine]


@pytest.fixture
def start(model: StableDiffusion, recorder: Recorder) -> Iterator[Start]:
    """Engines with these checks for the embedded model."""
    with ExitStack() as stack:

        def start(*checks: tuple[Check, Action]) -> Engine:
            engine = Engine(
                WeightCache.preloaded({"embedded": model}),
                observer=recorder,
                screens={"embedded": Screen(checks, recorder)},
            )
            stack.callback(engine.close)
            return engine

        yield start


def kept(picture: PIL.Image.Image, **changes: Any) -> GenerationRequest:
    """A request that inpaints nothing of this picture."""
    mask = bytes(picture.width * picture.height)
    return make_request(
        init_image=picture.tobytes(), mask=mask, strength=1.0, num_inference_steps=2, **changes
    )


def opened(image: Image) -> PIL.Image.Image:
    return PIL.Image.open(BytesIO(image.data))


def detail(picture: PIL.Image.Image) -> float:
    """Mean second difference of neighbouring pixels: what is not flat and not a gradient."""
    return float(np.abs(np.diff(np.asarray(picture.convert("L"), dtype=float), n=2)).mean())


GRAY = kept(composite("elephant", "gray").convert("L").convert("RGB"))
ONE_COLOUR = PIL.Image.new("RGB", (64, 64), (140, 140, 140))
PLAIN = kept(ONE_COLOUR)


@pytest.mark.parametrize(
    ("request_", "names"), [(GRAY, ("grayscale",)), (PLAIN, ("grayscale", "blank"))]
)
def test_flag(
    start: Start,
    engine: Engine,
    recorder: Recorder,
    request_: GenerationRequest,
    names: tuple[CheckName, ...],
) -> None:
    screened = start((Grayscale(), "flag"), (Blank(), "flag"))
    image = Client(screened, request_).image()
    assert image.screening == names
    assert opened(image).info["parameters"].endswith(f', Screening: "{", ".join(names)}"')
    assert recorder.screening == [(name, "flag") for name in names]
    assert recorder.phases["screen"] == 1
    plain = Client(engine, request_).image()
    assert plain.screening == ()
    assert opened(plain).tobytes() == opened(image).tobytes()


def test_what_is_drawn_in_colour_passes(start: Start, engine: Engine, recorder: Recorder) -> None:
    screened = start((Grayscale(), "reject"), (Blank(), "reject"))
    image = Client(screened, make_request()).image()
    assert image.data == Client(engine, make_request()).image().data
    assert recorder.screening == []


def test_blur(start: Start, engine: Engine) -> None:
    image = Client(start((Grayscale(), "blur")), GRAY).image()
    assert image.screening == ("grayscale",)
    plain = opened(Client(engine, GRAY).image())
    assert opened(image).size == plain.size
    assert detail(opened(image)) < detail(plain) / 4


def test_reject_ends_the_whole_request(start: Start, recorder: Recorder) -> None:
    screened = start((Grayscale(), "flag"), (Blank(), "reject"))
    client = Client(screened, kept(ONE_COLOUR, num_images=3))
    failed = client.failed()
    assert failed.code is ErrorCode.CONTENT_POLICY_VIOLATION
    assert "(blank)" in failed.message
    assert not [event for event in client.events if isinstance(event, Image)]
    screened.close()
    assert recorder.outcomes["content_policy_violation"] >= 1
    assert recorder.outcomes["ok"] == 0
    assert ("blank", "reject") in recorder.screening


@pytest.mark.parametrize("action", ["flag", "blur", "reject"])
def test_nudity_with_a_harmless_picture_above_the_threshold(start: Start, action: Action) -> None:
    peach = kept(composite("peach", "purple"))
    client = Client(start((Nudity(Settings().nsfw_labels, 0.5), action)), peach)
    if action == "reject":
        assert client.failed().code is ErrorCode.CONTENT_POLICY_VIOLATION
    else:
        assert client.image().screening == ("nsfw",)


def test_nothing_that_nudity_finds_survives_the_blur() -> None:
    peach = composite("peach", "white").resize((512, 512))
    nudity = Nudity(Settings().nsfw_labels, 0.3)
    assert nudity.look(peach)
    assert nudity.look(blurred(peach)) is None


def test_off_is_not_even_looked_at(start: Start, recorder: Recorder) -> None:
    image = Client(start((Grayscale(), "off")), GRAY).image()
    assert image.screening == ()
    assert recorder.phases["screen"] == 0


class Broken:
    name: CheckName = "nsfw"

    def look(self, picture: PIL.Image.Image) -> str | None:
        raise RuntimeError("secret detail /etc/shadow")


def test_a_picture_that_could_not_be_checked_does_not_go_out(start: Start) -> None:
    failed = Client(start((Broken(), "flag")), make_request(num_inference_steps=1)).failed()
    assert failed.code is ErrorCode.INTERNAL
    assert "secret" not in failed.message


@pytest.mark.parametrize("action", ["blur", "reject"])
def test_no_previews_of_what_may_be_held_back(start: Start, action: Action) -> None:
    engine = start((Grayscale(), "flag"), (Blank(), action))
    with pytest.raises(RequestError, match="previews must be false") as refusal:
        engine.submit(make_request(wants_previews=True), lambda event: None)
    assert refusal.value.code is ErrorCode.INVALID_REQUEST
    assert refusal.value.field == "previews"
    Client(engine, make_request(wants_progress=True)).image()


def test_previews_of_what_is_only_flagged(start: Start) -> None:
    client = Client(start((Grayscale(), "flag")), make_request(wants_previews=True))
    client.image()
    assert any(event.preview for event in client.events if isinstance(event, Progress))
