from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from api import arrival
from api.backend import ServedLora
from api.parameters import LoraParameter
from api.served_models import ServedModels
from api.validation import Validation
from contract.errors import ErrorCode, RequestError
from contract.request import OutputFormat
from models.architectures import SCHEDULERS
from settings import Settings
from tests import uploads
from tests.unit.api.conftest import TINY, ColourBackend, make_lora
from tests.unit.api.parameters import img2img, inpaint, txt2img

PICTURE = uploads.encode(uploads.red_and_blue())


def refusal(validation: Validation, **fields: Any) -> RequestError:
    parameters = img2img(PICTURE, **{"prompt": "x", **fields})
    with pytest.raises(RequestError) as refused:
        validation.request(parameters, "r")
    return refused.value


def test_the_model_fills_in_what_is_absent(validation: Validation) -> None:
    request = validation.request(txt2img(prompt="x"), "r")

    assert (request.request_id, request.model, request.prompt) == ("r", "tiny", "x")
    assert (request.width, request.height) == (TINY.defaults.width, TINY.defaults.height)
    assert request.num_inference_steps == TINY.defaults.num_inference_steps
    assert request.guidance_scale == TINY.defaults.guidance_scale
    assert request.scheduler == TINY.defaults.scheduler
    assert request.negative_prompt is None
    assert request.output_format is OutputFormat.PNG
    assert request.num_images == 1
    assert request.init_image is None
    assert request.mask is None
    assert not request.wants_progress
    assert not request.wants_previews
    assert request.strength is None


def test_given_fields_are_kept(validation: Validation) -> None:
    fields: dict[str, Any] = {
        "prompt": "a",
        "negative_prompt": "b",
        "width": 64,
        "height": 256,
        "num_inference_steps": 3,
        "guidance_scale": 0.0,
        "scheduler": "heun",
        "seed": 0,
        "num_images": 8,
        "model": "tiny",
        "output_format": "webp",
    }
    request = validation.request(txt2img(**fields), "r")

    assert {name: getattr(request, name) for name in fields} == fields


@pytest.mark.parametrize("seed", [None, -1])
def test_a_missing_seed_is_random_and_fits_a_json_number(
    validation: Validation, seed: int | None
) -> None:
    seeds = {validation.request(txt2img(prompt="x", seed=seed), "r").seed for _ in range(20)}

    assert len(seeds) == 20
    assert all(0 <= seed < 2**53 for seed in seeds)


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("width", (64, 2048 - 8), (56, 2056, -64)),
        ("height", (64, 2048 - 8), (56, 2056, 0)),
        ("num_inference_steps", (1, 150), (0, 151, -1)),
        ("guidance_scale", (0, 30), (-0.1, 30.1)),
        ("guidance_start", (0, 0.99), (-0.1, 1.01)),
        ("guidance_end", (0.01, 1), (-0.1, 1.01)),
        ("seed", (-1, 0, 2**53 - 1), (-2, 2**53)),
        ("num_images", (1, 8), (0, -1, 9)),
        ("strength", (0.05, 1), (0, -0.5, 1.01)),
        ("prompt", ("", "x" * 2000), ("x" * 2001,)),
        ("negative_prompt", ("", "x" * 2000), ("x" * 2001,)),
        ("scheduler", SCHEDULERS, ("Euler", "", "ddpm")),
        ("output_format", ("png", "jpeg", "webp"), ("PNG", "jpg", "gif", "")),
    ],
)
def test_ranges(
    validation: Validation, field: str, good: tuple[Any, ...], bad: tuple[Any, ...]
) -> None:
    for value in good:
        fields = {"prompt": "x", "width": 64, "height": 64, "strength": 1.0, field: value}
        validation.request(img2img(PICTURE, **fields), "r")
    for value in bad:
        error = refusal(validation, **{field: value})
        assert error.code is ErrorCode.OUT_OF_RANGE
        assert error.field == field
        assert error.message.startswith(f"{field} must be ")


def test_sides_are_multiples(validation: Validation) -> None:
    error = refusal(validation, height=100)

    assert error.code is ErrorCode.OUT_OF_RANGE
    assert (error.field, error.message) == ("height", "height must be a multiple of 8, got 100")


def test_area_limit(validation: Validation) -> None:
    error = refusal(validation, width=2048, height=2048)

    assert error.code is ErrorCode.OUT_OF_RANGE
    assert error.message == "width x height must be at most 2400000 pixels, got 2048 x 2048"


def test_lcm_has_fewer_steps(validation: Validation) -> None:
    validation.request(txt2img(prompt="x", scheduler="lcm", num_inference_steps=50), "r")
    error = refusal(validation, scheduler="lcm", num_inference_steps=51)

    assert (error.code, error.field) == (ErrorCode.OUT_OF_RANGE, "num_inference_steps")


def test_a_scheduler_must_be_one_of_the_models_architecture(
    backend: ColourBackend, settings: Settings
) -> None:
    defaults = TINY.defaults.model_copy(update={"scheduler": "euler"})
    backend.models = (replace(TINY, defaults=defaults, schedulers=("euler", "heun")),)
    validation = Validation(settings, ServedModels(backend, settings))

    assert validation.request(txt2img(prompt="x"), "r").scheduler == "euler"
    error = refusal(validation, scheduler="ddim")
    assert (error.code, error.field) == (ErrorCode.OUT_OF_RANGE, "scheduler")
    assert error.message == 'scheduler must be one of euler, heun, got "ddim"'


def test_unknown_model(validation: Validation) -> None:
    error = refusal(validation, model="sd-9")

    assert (error.code, error.field) == (ErrorCode.NOT_FOUND, "model")
    assert error.message == 'model must be auto or one of tiny, got "sd-9"'


def test_strength_leaves_at_least_one_step(validation: Validation) -> None:
    error = refusal(validation, strength=0.04)

    assert (error.code, error.field) == (ErrorCode.OUT_OF_RANGE, "strength")
    assert error.message == "num_inference_steps x strength must be at least 1, got 20 x 0.04"


def test_every_picture_has_a_valid_seed(validation: Validation) -> None:
    last = 2**53 - 1
    parameters = txt2img(prompt="x", num_images=8, seed=last - 7)
    assert validation.request(parameters, "r").seed == last - 7

    error = refusal(validation, num_images=8, seed=last - 6)
    assert (error.code, error.field) == (ErrorCode.OUT_OF_RANGE, "seed")
    assert error.message == (f"seed must be at most {last - 7} with num_images 8, got {last - 6}")


def test_a_random_seed_leaves_room_for_its_followers(
    validation: Validation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secrets.randbelow", lambda end: end - 1)

    assert validation.request(txt2img(prompt="x", num_images=8), "r").seed == 2**53 - 8


@pytest.mark.parametrize("task", ["txt2img", "img2img", "inpaint"])
def test_a_model_does_only_its_tasks(
    backend: ColourBackend, validation: Validation, task: str
) -> None:
    others = tuple(other for other in TINY.tasks if other != task)
    backend.models = [replace(TINY, tasks=others)]
    admit: dict[str, Callable[[], Any]] = {
        "txt2img": lambda: validation.request(txt2img(prompt="x"), "r"),
        "img2img": lambda: validation.request(img2img(PICTURE, prompt="x"), "r"),
        "inpaint": lambda: validation.request(inpaint(PICTURE, PICTURE, prompt="x"), "r"),
    }

    for other in others:
        admit[other]()
    with pytest.raises(RequestError) as refused:
        admit[task]()
    assert (refused.value.code, refused.value.field) == (ErrorCode.OUT_OF_RANGE, "model")
    assert refused.value.message == (
        f"model must be one that can do {task}; tiny can do {', '.join(others)}"
    )


def test_guidance_has_an_interval(validation: Validation) -> None:
    whole = validation.request(txt2img(prompt="x"), "r")
    assert (whole.guidance_start, whole.guidance_end) == (0, 1)

    part = validation.request(txt2img(prompt="x", guidance_start=0.1, guidance_end=0.6), "r")
    assert (part.guidance_start, part.guidance_end) == (0.1, 0.6)


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"guidance_start": 0.6, "guidance_end": 0.5}, "0.6 and 0.5"),
        ({"guidance_start": 0.5, "guidance_end": 0.5}, "0.5 and 0.5"),
        ({"guidance_start": 1}, "1 and 1"),
        ({"guidance_end": 0}, "0 and 0"),
    ],
)
def test_the_guidance_interval_is_not_empty(
    validation: Validation, fields: dict[str, float], shown: str
) -> None:
    error = refusal(validation, **fields)

    assert (error.code, error.field) == (ErrorCode.OUT_OF_RANGE, "guidance_start")
    assert error.message == f"guidance_start must be below guidance_end, got {shown}"


def test_the_backend_is_looked_at_once(settings: Settings) -> None:
    class Counting(ColourBackend):
        looks = 0

        @property
        def loras(self) -> Sequence[ServedLora]:
            self.looks += 1
            return [make_lora(f"lora-{index}") for index in range(4)]

        @loras.setter
        def loras(self, loras: Sequence[ServedLora]) -> None:
            pass

    backend = Counting()
    validation = Validation(settings, ServedModels(backend, settings))
    loras = tuple(LoraParameter(f"lora-{index}") for index in range(4))
    validation.request(txt2img(prompt="x", model="auto", loras=loras), "r")

    assert backend.looks == 1


def test_the_deadline_counts_from_the_arrival(
    validation: Validation, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert validation.request(txt2img(prompt="x"), "r").deadline == settings.deadline

    now = 1000.0
    monkeypatch.setattr("api.arrival.monotonic", lambda: now)
    with arrival.noted():
        now += 100
        assert validation.request(txt2img(prompt="x"), "r").deadline == settings.deadline - 100
        now += settings.deadline - 100
        with pytest.raises(RequestError) as refused:
            validation.request(txt2img(prompt="x"), "r")
    assert refused.value.code is ErrorCode.DEADLINE_EXCEEDED
