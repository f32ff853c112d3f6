"""Forms without a page: fields of the API and controls, sizes, what was painted."""

from __future__ import annotations

import io
import json
from typing import Any

import PIL.Image
import pytest

from tests.unit.ui.serving import BASE, LIMITS, REFINER, SERVED, XL, model, serving
from ui import fields, painting, sizes
from ui.refusal import Refusal


def round_trip(given: dict[str, Any], task: str = "txt2img") -> dict[str, Any]:
    return fields.requested(fields.controls(SERVED, given, task))


def test_what_a_form_is_filled_with_is_what_it_asks_for() -> None:
    given = {
        "prompt": "a pear",
        "negative_prompt": "a plum",
        "model": "base",
        "width": 256,
        "height": 512,
        "num_inference_steps": 7,
        "guidance_scale": 2.5,
        "guidance_start": 0.1,
        "scheduler": "ddim",
        "seed": 2**53 - 1,
        "num_images": 3,
        "loras": [{"name": "clay", "scale": -0.5}, {"name": "wool", "scale": 1.0}],
        "expand_prompt": True,
        "output_format": "jpeg",
        "crop": [0, 0],
    }
    assert round_trip(given) == {**given, "strength": 0.6, "previews": True}


def test_a_refiner_is_offered_where_the_model_takes_one() -> None:
    given = {"prompt": "", "model": "xl", "refiner": {"switch_at": 0.6}}
    assert round_trip(given)["refiner"] == {"model": "xl-refiner", "switch_at": 0.6}
    assert SERVED.refiners(XL) == ["xl-refiner"]
    assert not SERVED.refiners(BASE)
    assert "refiner" not in round_trip({**given, "model": "base"})


def test_a_model_that_is_gone_or_unable_gives_way() -> None:
    assert round_trip({"prompt": "", "model": "gone"})["model"] == "base"
    assert round_trip({"prompt": "", "model": REFINER.name})["model"] == "base"
    assert round_trip({"prompt": "", "model": REFINER.name}, "img2img")["model"] == REFINER.name


def test_loras_of_another_base_are_left_out() -> None:
    assert "loras" not in round_trip({"prompt": "", "model": "xl", "loras": [{"name": "clay"}]})
    assert [lora.name for lora in SERVED.loras(SERVED.model("clay"))] == ["wool"]


def test_a_picture_keeps_its_size_unless_one_is_given() -> None:
    assert "width" not in round_trip({"prompt": ""}, "img2img")
    assert round_trip({"prompt": "", "width": 256}, "img2img")["width"] == 256


def test_no_previews_of_models_whose_pictures_may_be_withheld() -> None:
    served = serving(model("screened", screening={"nsfw": "blur"}))
    assert "previews" not in fields.requested(fields.controls(served, {}, "txt2img"))


@pytest.mark.parametrize("text", ["{", "[1]", "crop"])
def test_further_fields_are_an_object(text: str) -> None:
    with pytest.raises(Refusal) as caught:
        fields.requested(fields.controls(SERVED, {}, "txt2img") | {"further": text})
    assert caught.value.field == "further"
    given = fields.controls(SERVED, {}, "txt2img") | {"further": json.dumps({"crop": [8, 8]})}
    assert fields.requested(given)["crop"] == [8, 8]


def test_sizes_are_those_that_the_model_can_do() -> None:
    offered = sizes.presets(BASE, LIMITS)
    assert offered[0][1] == (512, 512)
    assert (440, 592) in [size for _, size in offered]
    for _, (width, height) in offered:
        assert width % 8 == height % 8 == 0
        assert abs(width * height - 512 * 512) < 512 * 512 * 0.05
    assert len({size for _, size in offered}) == len(offered) == 7

    small = model("small", defaults={"width": 64, "height": 64}, max_pixels=64 * 100)
    offered = sizes.presets(small, LIMITS)
    assert [size for _, size in offered] == [(64, 64), (88, 64), (64, 88), (96, 64), (64, 96)]


def test_the_mask_is_what_was_painted() -> None:
    picture = PIL.Image.new("RGBA", (20, 10), "teal")
    layer = PIL.Image.new("RGBA", (20, 10))
    painted = {"background": picture, "layers": [layer], "composite": picture}
    assert painting.picture_of(painted).mode == "RGB"
    assert painting.mask_of(painted, (20, 10)) is None

    layer.paste((124, 58, 237, 170), (5, 0, 10, 10))
    mask = painting.mask_of(painted, (20, 10))
    assert mask is not None
    assert mask.getbbox() == (5, 0, 10, 10)
    assert mask.getextrema() == (0, 255)

    with pytest.raises(Refusal) as caught:
        painting.picture_of({"background": None, "layers": []})
    assert caught.value.field == "image"


def test_files_are_upright_and_fit_into_a_body() -> None:
    written = io.BytesIO()
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # lying on its side
    PIL.Image.new("RGB", (40, 20)).save(written, "JPEG", exif=exif)
    assert painting.opened(written.getvalue()).size == (20, 40)

    assert painting.file_of(PIL.Image.new("RGB", (64, 64))).startswith(b"\x89PNG")
    noise = [PIL.Image.effect_noise((1700, 1700), 100) for _ in range(3)]
    assert painting.file_of(PIL.Image.merge("RGB", noise)).startswith(b"\xff\xd8")
    mask = PIL.Image.new("L", (4000, 2000), 255)
    with PIL.Image.open(io.BytesIO(painting.file_of(mask))) as small:
        assert small.width * small.height <= 4_000_000
        assert small.width == 2 * small.height
