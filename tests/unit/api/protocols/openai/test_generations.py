"""Pictures from a text: fields that are honoured, refused by name, or reported as ignored."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import PIL.Image
from starlette.testclient import TestClient

from tests.unit.api.conftest import ColourBackend, make_lora
from tests.unit.api.protocols.openai.conftest import GENERATIONS, error_of, generate


def test_pictures_with_their_seeds(client: TestClient, backend: ColourBackend) -> None:
    backend.warnings = ("the prompt was cut",)
    backend.screening = ("blank",)
    response = generate(client, n=2, seed=7, size="64x72", model="gpt-image-1")

    assert response.status_code == 200
    body = response.json()
    assert [image["seed"] for image in body["data"]] == [7, 8]
    picture = PIL.Image.open(BytesIO(base64.b64decode(body["data"][0]["b64_json"])))
    assert (picture.format, picture.size) == ("PNG", (64, 72))
    assert body["data"][0]["screening"] == ["blank"]
    assert body["data"][0]["revised_prompt"] is None
    assert (body["size"], body["output_format"]) == ("64x72", "png")
    assert (body["model"], body["background"]) == ("tiny", "opaque")
    assert body["warnings"] == ["the prompt was cut"]
    assert body["created"] > 1_700_000_000
    # Two words, and twice 4 x 5 squares of 16 pixels, the last ones not whole.
    assert body["usage"] == {
        "input_tokens": 2,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 2},
        "output_tokens": 40,
        "total_tokens": 42,
    }
    assert response.headers["x-seed"] == "7"
    assert response.headers["x-request-id"] == backend.requests[0].request_id


def test_everything_that_the_service_can_is_reachable(
    client: TestClient, backend: ColourBackend
) -> None:
    backend.loras = [make_lora("clay")]
    fields = {
        "negative_prompt": "blurry, dark",
        "num_inference_steps": 9,
        "guidance_scale": 2.5,
        "scheduler": "euler",
        "loras": [{"name": "clay", "scale": 0.5}],
        "seed": 3,
        "width": 64,
        "height": 72,
        "output_format": "webp",
        "output_compression": 40,
    }
    response = generate(client, **fields)

    assert response.status_code == 200, response.text
    assert response.headers["x-loras"] == "clay:0.5"
    assert response.json()["usage"]["input_tokens"] == 5
    (request,) = backend.requests
    assert (request.negative_prompt, request.num_inference_steps) == ("blurry, dark", 9)
    assert (request.guidance_scale, request.scheduler, request.seed) == (2.5, "euler", 3)
    assert (request.width, request.height, request.output_quality) == (64, 72, 40)
    data = base64.b64decode(response.json()["data"][0]["b64_json"])
    assert PIL.Image.open(BytesIO(data)).format == "WEBP"


def test_templates_tell_what_became_of_them(client: TestClient) -> None:
    response = generate(client, prompt="a {red|green} pear", expand_prompt=True, seed=1)

    assert response.json()["data"][0]["revised_prompt"] in ("a red pear", "a green pear")


def test_what_clients_send_anyway(client: TestClient, backend: ColourBackend) -> None:
    """Every optional field may be null; what means nothing here is reported."""
    optional = [*("model", "n", "size", "quality", "response_format", "style", "user"), "stream"]
    optional += ["background", "moderation", "output_format", "output_compression"]
    optional += ["partial_images"]
    response = generate(client, **dict.fromkeys(optional))
    assert (response.status_code, response.json()["warnings"]) == (200, [])
    assert (backend.requests[0].width, backend.requests[0].height) == (128, 128)

    harmless = {"quality": "standard", "moderation": "auto", "background": "opaque"}
    harmless |= {"size": "auto", "response_format": "b64_json"}
    response = generate(client, **harmless, output_compression=100, stream=False, partial_images=0)
    assert (response.status_code, response.json()["warnings"]) == (200, [])

    ignored = {"quality": "hd", "style": "vivid", "user": "someone", "moderation": "low"}
    response = client.post(f"{GENERATIONS}?api-version=1", json={"prompt": "a pear", **ignored})
    assert response.status_code == 200
    told = [sentence.partition(" ")[0] for sentence in response.json()["warnings"]]
    assert sorted(told) == sorted([*ignored, '"api-version"'])


# Fields, the one at fault, and how the sentence begins.
MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": None}, "prompt", "prompt must be a string, not null"),
    ({"prompt": "x" * 2001}, "prompt", "prompt must be at most 2000 characters long, got 2001"),
    ({"n": 9}, "n", "n must be at least 1 and at most 8, got 9"),
    ({"n": "2"}, "n", 'n must be an integer, not "2"'),
    ({"n": 2, "seed": 2**53 - 1}, "seed", f"seed must be at most {2**53 - 2} with n 2"),
    ({"size": "65x64"}, "size", "size must be a multiple of 8, got 65"),
    ({"size": "1024X1024"}, "size", "size must be auto or WIDTHxHEIGHT"),
    ({"size": "0x64"}, "size", "size must be auto or WIDTHxHEIGHT"),
    ({"size": "2048x2048"}, "size", "size x size must be at most 2400000 pixels"),
    ({"size": "64x64", "width": 64}, "size", "size must be absent where width or height is"),
    ({"width": 65}, "width", "width must be a multiple of 8, got 65"),
    ({"response_format": "url"}, "response_format", "response_format must be one of b64_json"),
    ({"background": "transparent"}, "background", "background must be one of auto, opaque"),
    ({"quality": "best"}, "quality", "quality must be one of auto, standard"),
    ({"style": "odd"}, "style", "style must be one of vivid, natural"),
    ({"moderation": "none"}, "moderation", "moderation must be one of auto, low"),
    ({"output_format": "gif"}, "output_format", "output_format must be one of png"),
    (
        {"output_compression": 101, "output_format": "jpeg"},
        "output_compression",
        "output_compression must be at least 0 and at most 100, got 101",
    ),
    (
        {"output_compression": 50},
        "output_compression",
        "output_compression must be 100 or absent where output_format is png, got 50",
    ),
    ({"partial_images": 4, "stream": True}, "partial_images", "partial_images must be at"),
    ({"partial_images": 1}, "partial_images", "partial_images come in a stream only"),
    ({"num_images": 2}, "num_images", "num_images is called n here"),
    ({"previews": True}, "previews", "previews is called partial_images here"),
    ({"steps": 2}, "steps", '"steps" is not a field; the fields are prompt,'),
    ({"loras": [{"name": "x"}]}, "loras.0.name", "loras.0.name must be a LoRA of tiny"),
]


def test_mistakes(client: TestClient, backend: ColourBackend) -> None:
    for fields, param, message in MISTAKES:
        response = generate(client, **fields)
        assert response.status_code == (404 if param == "loras.0.name" else 400), fields
        error = error_of(response)
        assert error["message"].startswith(message)
        assert error["param"] == param
        assert error["type"] == "invalid_request_error"
    assert not backend.requests


def test_unknown_fields_list_no_names_of_others(client: TestClient) -> None:
    message = error_of(generate(client, steps=2))["message"]

    assert " n, " in message
    assert "num_images" not in message
    assert "previews" not in message
