"""Pictures from pictures: forms in every notation, and JSON."""

from __future__ import annotations

import json
from typing import Any

from starlette.testclient import TestClient

from tests import uploads
from tests.unit.api.conftest import ColourBackend, make_lora
from tests.unit.api.protocols.openai.conftest import (
    EDITS,
    VARIATIONS,
    data_url,
    error_of,
    half_transparent,
)

PICTURE = uploads.encode(uploads.red_and_blue())
MASK = half_transparent()
Files = list[tuple[str, Any]]


def form(*parts: tuple[str, str | bytes]) -> Files:
    """A form; what is bytes is a file."""
    return [
        (name, (None, value) if isinstance(value, str) else ("a.png", value, "image/png"))
        for name, value in parts
    ]


def test_forms(client: TestClient, backend: ColourBackend) -> None:
    """Each of them gives the same: what is transparent in the mask is edited."""
    backend.loras = [make_lora("clay"), make_lora("wool")]
    loras = [{"name": "clay", "scale": 0.5}, {"name": "wool"}]
    plain = (("prompt", "a pear"), ("n", "2"), ("seed", "5"), ("size", "64x72"))
    pictures = (("image", PICTURE), ("mask", MASK))
    spellings: list[Files] = [
        form(*pictures, *plain, ("loras", json.dumps(loras))),
        form(
            *plain,
            *(("loras[][name]", "clay"), ("loras[][scale]", "0.5"), ("loras[][name]", "wool")),
            *(("mask", MASK), ("image[]", PICTURE)),
        ),
    ]
    for files in spellings:
        response = client.post(EDITS, files=files)
        assert response.status_code == 200, response.text
        assert response.json()["usage"]["input_tokens_details"]["image_tokens"] == 20
    body = {
        "prompt": "a pear",
        "n": 2,
        "seed": 5,
        "size": "64x72",
        "loras": loras,
        "images": [{"image_url": data_url(PICTURE, "IMAGE/webp")}],
        "mask": {"image_url": data_url(MASK)},
    }
    assert client.post(EDITS, json=body).status_code == 200

    assert len(backend.requests) == 3
    for request in backend.requests:
        assert (request.prompt, request.num_images, request.seed) == ("a pear", 2, 5)
        assert (request.width, request.height, request.strength) == (64, 72, 1.0)
        assert [str(use) for use in request.loras] == ["clay:0.5", "wool:1"]
        assert request.mask is not None
        # The first row: 32 pixels to edit, 32 to keep.
        assert {request.mask[0], request.mask[20]} == {255}
        assert {request.mask[44], request.mask[63]} == {0}


def test_edits_without_a_mask_and_variations(client: TestClient, backend: ColourBackend) -> None:
    response = client.post(
        EDITS,
        files=form(
            ("image", PICTURE),
            ("prompt", "a pear"),
            ("strength", "0.3"),
            ("input_fidelity", "high"),
            ("stream", "false"),
            ("skip_layers[]", "7"),
        ),
    )
    # The model has no such field, but it was understood.
    assert error_of(response)["param"] == "skip_layers"
    response = client.post(
        EDITS,
        files=form(("image", PICTURE), ("prompt", "x"), ("strength", "0.3"), ("user", "me")),
    )
    assert response.status_code == 200
    assert response.json()["warnings"] == [
        "user is ignored: a client is known by its key or its address"
    ]
    response = client.post(VARIATIONS, files=form(("image", PICTURE), ("n", "1")))
    assert response.status_code == 200

    edit, variation = backend.requests
    assert (edit.strength, edit.mask) == (0.3, None)
    assert (variation.prompt, variation.strength, variation.mask) == ("", 0.6, None)
    # About the aspect ratio of the picture.
    assert (variation.width, variation.height) == (184, 88)


# What is sent, the status, the field at fault, and how the sentence begins.
FORMS: list[tuple[tuple[tuple[str, str | bytes], ...], int, str | None, str]] = [
    ((("prompt", "x"),), 400, "image", "image is required"),
    ((("image", PICTURE),), 400, "prompt", "prompt is required"),
    (
        (("image", PICTURE), ("image[]", PICTURE), ("prompt", "x")),
        400,
        "image",
        "image must be one picture, got 2",
    ),
    (
        (("image", PICTURE), ("mask", MASK), ("mask", MASK), ("prompt", "x")),
        400,
        "mask",
        "mask must be one picture, got 2",
    ),
    (
        (("image", PICTURE), ("mask", PICTURE), ("prompt", "x")),
        400,
        "mask",
        "mask must have an alpha channel: what is transparent in it is inpainted",
    ),
    ((("image", b"GIF89a"), ("prompt", "x")), 415, "image", "image must be a picture in one"),
    ((("image", PICTURE), ("prompt", "x"), ("n", "two")), 400, "n", "n must be an integer"),
    (
        (("image", PICTURE), ("prompt", "x"), ("guidance_scale", "much")),
        400,
        "guidance_scale",
        'guidance_scale must be a number, not "much"',
    ),
    (
        (("image", PICTURE), ("prompt", "x"), ("stream", "perhaps")),
        400,
        "stream",
        'stream must be true or false, not "perhaps"',
    ),
    (
        (("image", PICTURE), ("prompt", "x"), ("loras", "{")),
        400,
        "loras",
        '"loras" must be JSON, got "{"',
    ),
    (
        (("image", PICTURE), ("prompt", "x"), ("loras", "[" * 50_000)),
        400,
        "loras",
        '"loras" must be JSON',
    ),
    (
        (("image", PICTURE), ("prompt", "x"), ("prompt", "y")),
        400,
        "prompt",
        '"prompt" may be there once only',
    ),
    (
        (("image", PICTURE), ("prompt", "x"), ("loras", "[]"), ("loras[][name]", "y")),
        404,
        "loras.0.name",
        "loras.0.name must be a LoRA of tiny",
    ),
    (
        (("image", PICTURE), ("prompt", "x"), ("loras[name]", "y"), ("loras[]", "y")),
        400,
        "loras",
        '"loras" must be written in one way only',
    ),
    (
        (("image", PICTURE), ("prompt", "x"), ("refiner[a]", "1"), ("refiner[a]", "2")),
        400,
        "refiner.a",
        '"refiner.a" may be there once only',
    ),
    (
        (("image", PICTURE), ("prompt", "x"), ("n[", "2")),
        400,
        "n[",
        '"n[" is not a field',
    ),
    (
        tuple(("n[]", "1") for _ in range(100)),
        400,
        None,
        "the body must have at most 96 parts, got more",
    ),
    (
        (("image", PICTURE), ("prompt", "x" * 70_000)),
        413,
        "prompt",
        "the part prompt must be at most 65536 bytes long, got 70000",
    ),
]
OF_JSON: list[tuple[dict[str, Any], int, str, str]] = [
    ({}, 400, "images", "images is required"),
    ({"images": []}, 400, "images", "images: "),
    ({"images": [{}]}, 400, "images.0.image_url", "images.0.image_url is required"),
    (
        {"images": [{"image_url": data_url(PICTURE)}] * 2},
        400,
        "images",
        "images must be one picture, got 2",
    ),
    (
        {"images": [{"image_url": "https://example.com/a.png"}]},
        400,
        "images.0.image_url",
        "images.0.image_url must be a data URL with base64",
    ),
    (
        {"images": [{"image_url": "data:image/png;base64,%"}]},
        400,
        "images.0.image_url",
        "images.0.image_url must be valid base64",
    ),
    (
        {"images": [{"image_url": "data:text/plain;base64,QUJD"}]},
        415,
        "images.0.image_url",
        "images.0.image_url must be a picture in one",
    ),
    (
        {"images": [{"file_id": "file-1"}]},
        400,
        "images.0.file_id",
        "images.0.file_id must be absent",
    ),
    (
        {"images": [{"image_url": data_url(PICTURE)}], "mask": {"file_id": "x"}},
        400,
        "mask.file_id",
        "mask.file_id must be absent",
    ),
    (
        {
            "images": [{"image_url": data_url(PICTURE)}],
            "mask": {"image_url": data_url(uploads.encode(uploads.noise().convert("RGBA")))},
        },
        400,
        "mask.image_url",
        "mask.image_url must have the size of images.0.image_url, 40 x 20 pixels, got 96 x 96",
    ),
    ({"images": [{"image_url": "data:,"}] * 17}, 400, "images", "images must be at most 16"),
    ({"images": [{"url": "x"}]}, 400, "images.0.url", '"images.0.url" is not a field; the'),
]


def test_mistakes(client: TestClient) -> None:
    for parts, status, param, message in FORMS:
        check(client.post(EDITS, files=form(*parts)), status, param, message)
    for fields, status, param, message in OF_JSON:
        check(client.post(EDITS, json={"prompt": "x", **fields}), status, param, message)


def check(response: Any, status: int, param: str | None, message: str) -> None:
    """That it is this error."""
    error = error_of(response)
    assert error["message"].startswith(message)
    assert (response.status_code, error["param"]) == (status, param)


def test_long_json_is_bounded_in_number_of_elements(client: TestClient) -> None:
    hostile = b'{"prompt": "x", "images": [' + b"{}," * 100_000 + b"{}]}"
    response = client.post(EDITS, content=hostile, headers={"Content-Type": "application/json"})

    assert response.status_code == 413
    assert "commas, colons and brackets" in error_of(response)["message"]
