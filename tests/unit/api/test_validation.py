from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import PIL.Image
import pytest
from dynamicprompts.wildcards.values import WildcardValues

from api.parameters import GenerationParameters
from api.served_models import ServedModels
from api.validation import Validation
from contract.errors import ErrorCode, RequestError
from contract.request import OutputFormat
from models.catalog import SCHEDULERS
from settings import Settings
from templating.wildcards import Wildcards
from tests import uploads
from tests.unit.api.conftest import TINY, ColourBackend

PICTURE = uploads.encode(uploads.red_and_blue())


@pytest.fixture
def validation(backend: ColourBackend, settings: Settings) -> Validation:
    return Validation(settings, ServedModels(backend, settings))


def txt2img(**fields: Any) -> GenerationParameters:
    return GenerationParameters(task="txt2img", **fields)


def img2img(picture: bytes, **fields: Any) -> GenerationParameters:
    return GenerationParameters(task="img2img", init_image=picture, **fields)


def inpaint(picture: bytes, mask: bytes, **fields: Any) -> GenerationParameters:
    return GenerationParameters(task="inpaint", init_image=picture, mask=mask, **fields)


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
    assert request.negative_prompt == ""
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


def test_unknown_model(validation: Validation) -> None:
    error = refusal(validation, model="sd-9")

    assert (error.code, error.field) == (ErrorCode.NOT_FOUND, "model")
    assert error.message == 'model must be auto or one of tiny, got "sd-9"'


def test_strength_leaves_at_least_one_step(validation: Validation) -> None:
    error = refusal(validation, strength=0.04)

    assert (error.code, error.field) == (ErrorCode.OUT_OF_RANGE, "strength")
    assert error.message == "num_inference_steps x strength must be at least 1, got 20 x 0.04"


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (None, None, (184, 88)),  # 2:1 at about 128 x 128
        (128, None, (128, 64)),
        (None, 128, (256, 128)),
        (64, 64, (64, 64)),
    ],
)
def test_img2img_size(
    validation: Validation, width: int | None, height: int | None, expected: tuple[int, int]
) -> None:
    parameters = img2img(PICTURE, prompt="x", width=width, height=height)
    request = validation.request(parameters, "r")

    assert (request.width, request.height) == expected
    assert request.init_image is not None
    assert len(request.init_image) == expected[0] * expected[1] * 3
    assert request.strength == TINY.defaults.strength


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


def test_inpainting_takes_picture_and_mask_to_the_same_size(validation: Validation) -> None:
    mask = PIL.Image.new("L", (40, 20), 0)
    mask.paste(255, (20, 0, 40, 20))
    parameters = inpaint(PICTURE, uploads.encode(mask), prompt="x", width=128, height=64)
    request = validation.request(parameters, "r")

    assert request.strength == 1
    assert request.init_image is not None
    assert len(request.init_image) == 128 * 64 * 3
    assert request.mask is not None
    painted = PIL.Image.frombytes("L", (128, 64), request.mask)
    assert painted.point(lambda value: 255 * (value >= 128)).getbbox() == (64, 0, 128, 64)


@pytest.mark.parametrize("name", uploads.ODD)
def test_masks_of_every_kind(validation: Validation, name: str) -> None:
    data, size, _ = uploads.ODD[name]
    picture = uploads.encode(PIL.Image.new("RGB", size))
    request = validation.request(inpaint(picture, data, prompt="x", width=64, height=64), "r")

    assert request.mask is not None
    assert len(request.mask) == 64 * 64


def test_a_turned_mask_fits_a_turned_picture(validation: Validation) -> None:
    turned, _, _ = uploads.ODD["rotated-jpeg"]
    validation.request(inpaint(turned, turned, prompt="x"), "r")

    with pytest.raises(RequestError) as refused:
        validation.request(inpaint(turned, PICTURE, prompt="x"), "r")
    assert (refused.value.code, refused.value.field) == (ErrorCode.OUT_OF_RANGE, "mask")
    assert refused.value.message == (
        "mask must have the size of init_image, 20 x 40 pixels, got 40 x 20"
    )


@pytest.mark.parametrize("name", uploads.BROKEN)
def test_broken_masks_are_refused(validation: Validation, name: str) -> None:
    data, code = uploads.BROKEN[name]

    with pytest.raises(RequestError) as refused:
        validation.request(inpaint(PICTURE, data, prompt="x"), "r")
    assert (refused.value.code, refused.value.field) == (code, "mask")


def test_the_body_is_checked_before_the_picture_is_decoded(validation: Validation) -> None:
    with pytest.raises(RequestError, match="scheduler"):
        validation.request(img2img(b"no picture", prompt="x", scheduler="?"), "r")


def test_a_template_is_expanded_for_each_picture(validation: Validation) -> None:
    template = "a {red|green|blue} {2$$apple|pear|plum}"
    parameters = txt2img(prompt=template, expand_prompt=True, num_images=8, seed=40)
    request = validation.request(parameters, "r")

    assert len(set(request.prompts)) > 1
    assert request.prompt == request.prompts[0]
    for index, prompt in enumerate(request.prompts):
        alone = validation.request(
            img2img(PICTURE, prompt=template, expand_prompt=True, seed=40 + index), "r"
        )
        assert alone.prompts == (prompt,) == (alone.prompt,)


@pytest.mark.parametrize("expand", [None, False])
def test_braces_are_text_unless_asked_otherwise(
    validation: Validation, expand: bool | None
) -> None:
    parameters = txt2img(prompt="a {red|green} __apple__ {", expand_prompt=expand)
    request = validation.request(parameters, "r")

    assert request.prompt == "a {red|green} __apple__ {"
    assert request.prompts == ()


def test_the_negative_prompt_is_not_expanded(validation: Validation) -> None:
    parameters = txt2img(prompt="{a|a}", negative_prompt="{b|c}", expand_prompt=True)
    assert validation.request(parameters, "r").negative_prompt == "{b|c}"


def test_what_a_template_becomes_is_limited_too(settings: Settings, backend: ColourBackend) -> None:
    wildcards = Wildcards({"long": WildcardValues.from_items(["x" * 1_001])})
    validation = Validation(settings, ServedModels(backend, settings), wildcards)
    validation.request(txt2img(prompt="__long__", expand_prompt=True), "r")

    with pytest.raises(RequestError) as refused:
        validation.request(txt2img(prompt="__long____long__", expand_prompt=True), "r")
    assert (refused.value.code, refused.value.field) == (ErrorCode.OUT_OF_RANGE, "prompt")
    assert refused.value.message == (
        "prompt must be at most 2000 characters long once it is expanded, got 2002"
    )
