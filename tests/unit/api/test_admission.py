from __future__ import annotations

from typing import Any

import pytest

from api.admission import Admission
from api.schemas import Img2ImgBody, Txt2ImgBody
from engine.errors import ErrorCode, RequestError
from engine.request import OutputFormat
from models.catalog import SCHEDULERS
from settings import Settings
from tests import uploads
from tests.unit.api.conftest import TINY

PICTURE = uploads.encode(uploads.red_and_blue())


@pytest.fixture
def admission(settings: Settings) -> Admission:
    return Admission(settings, [TINY])


def refusal(admission: Admission, **fields: Any) -> RequestError:
    body = Img2ImgBody(**{"prompt": "x", **fields})
    with pytest.raises(RequestError) as refused:
        admission.img2img(body, PICTURE, "r")
    return refused.value


def test_the_model_fills_in_what_is_absent(admission: Admission) -> None:
    request = admission.txt2img(Txt2ImgBody(prompt="x"), "r")

    assert (request.request_id, request.model, request.prompt) == ("r", "tiny", "x")
    assert (request.width, request.height) == (TINY.width, TINY.height)
    assert request.num_inference_steps == TINY.num_inference_steps
    assert request.guidance_scale == TINY.guidance_scale
    assert request.scheduler == TINY.scheduler
    assert request.negative_prompt == ""
    assert request.output_format is OutputFormat.PNG
    assert request.init_image is None
    assert request.strength is None


def test_given_fields_are_kept(admission: Admission) -> None:
    fields: dict[str, Any] = {
        "prompt": "a",
        "negative_prompt": "b",
        "width": 64,
        "height": 256,
        "num_inference_steps": 3,
        "guidance_scale": 0.0,
        "scheduler": "heun",
        "seed": 0,
        "model": "tiny",
        "output_format": "webp",
    }
    request = admission.txt2img(Txt2ImgBody(**fields), "r")

    assert {name: getattr(request, name) for name in fields} == fields


@pytest.mark.parametrize("seed", [None, -1])
def test_a_missing_seed_is_random_and_fits_a_json_number(
    admission: Admission, seed: int | None
) -> None:
    seeds = {admission.txt2img(Txt2ImgBody(prompt="x", seed=seed), "r").seed for _ in range(20)}

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
        ("strength", (0.05, 1), (0, -0.5, 1.01)),
        ("prompt", ("", "x" * 2000), ("x" * 2001,)),
        ("negative_prompt", ("", "x" * 2000), ("x" * 2001,)),
        ("scheduler", SCHEDULERS, ("Euler", "", "ddpm")),
        ("output_format", ("png", "jpeg", "webp"), ("PNG", "jpg", "gif", "")),
    ],
)
def test_ranges(
    admission: Admission, field: str, good: tuple[Any, ...], bad: tuple[Any, ...]
) -> None:
    for value in good:
        fields = {"prompt": "x", "width": 64, "height": 64, "strength": 1.0, field: value}
        admission.img2img(Img2ImgBody(**fields), PICTURE, "r")
    for value in bad:
        error = refusal(admission, **{field: value})
        assert error.code is ErrorCode.OUT_OF_RANGE
        assert error.field == field
        assert error.message.startswith(f"{field} must be ")


def test_sides_are_multiples(admission: Admission) -> None:
    error = refusal(admission, height=100)

    assert error.code is ErrorCode.OUT_OF_RANGE
    assert (error.field, error.message) == ("height", "height must be a multiple of 8, got 100")


def test_area_limit(admission: Admission) -> None:
    error = refusal(admission, width=2048, height=2048)

    assert error.code is ErrorCode.OUT_OF_RANGE
    assert error.message == "width x height must be at most 2400000 pixels, got 2048 x 2048"


def test_lcm_has_fewer_steps(admission: Admission) -> None:
    admission.txt2img(Txt2ImgBody(prompt="x", scheduler="lcm", num_inference_steps=50), "r")
    error = refusal(admission, scheduler="lcm", num_inference_steps=51)

    assert (error.code, error.field) == (ErrorCode.OUT_OF_RANGE, "num_inference_steps")


def test_unknown_model(admission: Admission) -> None:
    error = refusal(admission, model="sd-9")

    assert (error.code, error.field) == (ErrorCode.NOT_FOUND, "model")
    assert error.message == 'model must be one of tiny, got "sd-9"'


def test_strength_leaves_at_least_one_step(admission: Admission) -> None:
    error = refusal(admission, strength=0.04)

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
    admission: Admission, width: int | None, height: int | None, expected: tuple[int, int]
) -> None:
    body = Img2ImgBody(prompt="x", width=width, height=height)
    request = admission.img2img(body, PICTURE, "r")

    assert (request.width, request.height) == expected
    assert request.init_image is not None
    assert len(request.init_image) == expected[0] * expected[1] * 3
    assert request.strength == TINY.strength


def test_the_body_is_checked_before_the_picture_is_decoded(admission: Admission) -> None:
    with pytest.raises(RequestError, match="scheduler"):
        admission.img2img(Img2ImgBody(prompt="x", scheduler="?"), b"no picture", "r")
