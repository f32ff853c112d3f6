"""Pictures from pictures, with masks and without."""

from __future__ import annotations

import base64
from typing import Any

import PIL.Image
from starlette.testclient import TestClient

from tests import uploads
from tests.unit.api.conftest import ColourBackend
from tests.unit.api.protocols.a1111.conftest import make, refusal

PICTURE = base64.b64encode(uploads.encode(uploads.red_and_blue())).decode()


def test_a_picture_and_its_options(client: TestClient, backend: ColourBackend) -> None:
    data = f"data:image/png;base64,{PICTURE}"
    body = make(
        client, "img2img", init_images=[data], denoising_strength=0.4, width=64, height=64, steps=5
    )
    make(client, "img2img", init_images=["\n".join((PICTURE[:76], PICTURE[76:]))], resize_mode=1)
    make(client, "img2img", init_images=[PICTURE], width=64, height=64, resize_mode=2)

    squeezed, cut, whole = backend.requests
    assert body["parameters"]["init_images"] is None
    assert (squeezed.strength, squeezed.mask) == (0.4, None)
    assert cut.strength == 0.75
    rows = [memoryview(one.init_image or b"")[: 3 * 64].tobytes() for one in (squeezed, whole)]
    assert (rows[0][:3], rows[0][-3:]) == (bytes(uploads.RED), bytes(uploads.BLUE))
    # Two to one, in a square: the sides are drawn out to the top.
    assert rows[1] == (whole.init_image or b"")[-3 * 64 :]


def test_a_mask_and_its_options(client: TestClient, backend: ColourBackend) -> None:
    mask = PIL.Image.new("L", (40, 20), 0)
    mask.paste(255, (0, 0, 20, 20))
    written = base64.b64encode(uploads.encode(mask)).decode()
    fields: dict[str, Any] = {"init_images": [PICTURE], "width": 64, "height": 64, "mask": written}
    sharp = {"mask_blur": 0, "inpainting_fill": 1, "inpaint_full_res": False}
    plain = make(client, "img2img", **fields, **sharp)
    inverted = make(
        client, "img2img", **fields, inpainting_mask_invert=True, mask_blur=4, inpainting_fill=0
    )

    first, second = (one.mask or b"" for one in backend.requests)
    assert (first[0], first[63]) == (255, 0)
    assert (second[0], second[63]) == (0, 255)
    assert plain["info"]["ignored"] == []
    assert [note.partition(":")[0] for note in inverted["info"]["ignored"]] == [
        "mask_blur",
        "inpainting_fill",
    ]


BAD_PICTURES: list[tuple[dict[str, Any], int, str, str]] = [
    ({}, 400, "init_images", "init_images must have one picture, got 0"),
    ({"init_images": [PICTURE] * 2}, 400, "init_images", "init_images must have one picture"),
    ({"init_images": ["no!"]}, 400, "init_images", "init_images must be valid base64"),
    ({"init_images": ["http://x/y"]}, 400, "init_images", "init_images must be the picture it"),
    ({"init_images": ["data:image/png,x"]}, 400, "init_images", "init_images must be a data:"),
    ({"init_images": ["AAAA"]}, 415, "init_images", "init_images must be a picture in one of"),
    ({"init_images": [PICTURE], "resize_mode": 3}, 422, "resize_mode", "resize_mode must be o"),
    (
        {"init_images": [PICTURE], "denoising_strength": 0},
        422,
        "denoising_strength",
        "denoising_strength must be above 0",
    ),
    ({"init_images": [PICTURE], "mask": "AAAA"}, 415, "mask", "mask must be a picture in one"),
    (
        {
            "init_images": [PICTURE],
            "mask": base64.b64encode(uploads.encode(uploads.noise())).decode(),
        },
        422,
        "mask",
        "mask must have the size of init_images, 40 x 20 pixels",
    ),
]


def test_pictures_that_cannot_be_used(client: TestClient) -> None:
    for fields, status, field, sentence in BAD_PICTURES:
        found = refusal(client, "img2img", **fields)
        assert found[:2] == (status, field)
        assert found[2].startswith(sentence)
