"""Validated of input pictures and masks."""

from __future__ import annotations

import PIL.Image
import pytest

from contract.errors import ErrorCode, RequestError
from tests import uploads
from tests.unit.api.conftest import TINY
from tests.unit.api.parameters import img2img, inpaint
from tests.unit.api.validated import Validated

PICTURE = uploads.encode(uploads.red_and_blue())


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
    validation: Validated, width: int | None, height: int | None, expected: tuple[int, int]
) -> None:
    parameters = img2img(PICTURE, prompt="x", width=width, height=height)
    request = validation.request(parameters, "r")

    assert (request.width, request.height) == expected
    assert request.init_image is not None
    assert len(request.init_image) == expected[0] * expected[1] * 3
    assert request.strength == TINY.defaults.strength


def test_inpainting_takes_picture_and_mask_to_the_same_size(validation: Validated) -> None:
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
def test_masks_of_every_kind(validation: Validated, name: str) -> None:
    data, size, _ = uploads.ODD[name]
    picture = uploads.encode(PIL.Image.new("RGB", size))
    request = validation.request(inpaint(picture, data, prompt="x", width=64, height=64), "r")

    assert request.mask is not None
    assert len(request.mask) == 64 * 64


def test_a_turned_mask_fits_a_turned_picture(validation: Validated) -> None:
    turned, _, _ = uploads.ODD["rotated-jpeg"]
    validation.request(inpaint(turned, turned, prompt="x"), "r")

    with pytest.raises(RequestError) as refused:
        validation.request(inpaint(turned, PICTURE, prompt="x"), "r")
    assert (refused.value.code, refused.value.field) == (ErrorCode.OUT_OF_RANGE, "mask")
    assert refused.value.message == (
        "mask must have the size of init_image, 20 x 40 pixels, got 40 x 20"
    )


@pytest.mark.parametrize("name", uploads.BROKEN)
def test_broken_masks_are_refused(validation: Validated, name: str) -> None:
    data, code = uploads.BROKEN[name]

    with pytest.raises(RequestError) as refused:
        validation.request(inpaint(PICTURE, data, prompt="x"), "r")
    assert (refused.value.code, refused.value.field) == (code, "mask")


def test_the_body_is_checked_before_the_picture_is_decoded(validation: Validated) -> None:
    with pytest.raises(RequestError, match="scheduler"):
        validation.request(img2img(b"no picture", prompt="x", scheduler="?"), "r")
