"""Prompt templates over HTTP."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import PIL.Image
import PIL.ImageChops
import pytest

from tests.integration.server import Server

TEMPLATE = "a {red|green} apple on a __colour__ background"
BODY = {"prompt": TEMPLATE, "expand_prompt": True, "num_inference_steps": 4, "seed": 20}
JSON = {"Accept": "application/json"}


def draw(server: Server, **changes: Any) -> list[dict[str, Any]]:
    response = server.client.post("/txt2img", json={**BODY, **changes}, headers=JSON)
    assert response.status_code == 200, response.text
    images: list[dict[str, Any]] = response.json()["images"]
    return images


def open_picture(image: dict[str, Any]) -> PIL.Image.Image:
    return PIL.Image.open(BytesIO(base64.b64decode(image["data"])))


def furthest(one: dict[str, Any], other: dict[str, Any]) -> int:
    """The greatest difference of two colour values."""
    difference = PIL.ImageChops.difference(open_picture(one), open_picture(other))
    return max(highest for _, highest in difference.getextrema())  # type: ignore[misc]


def test_the_choices_follow_from_the_seed(server: Server) -> None:
    images = draw(server, num_images=6)
    assert len({image["prompt"] for image in images}) > 1
    again = draw(server, num_images=6)
    assert [image["prompt"] for image in again] == [image["prompt"] for image in images]
    # The six may begin in one pass or in several, which rounds in another way.
    assert max(map(furthest, images, again)) <= 1
    for image in images[:2]:
        prompt = image["prompt"]
        assert not set("{|}_") & set(prompt)
        (alone,) = draw(server, seed=image["seed"])
        assert alone["prompt"] == prompt
        assert furthest(image, alone) <= 1
        assert open_picture(alone).info["parameters"].startswith(f"{prompt}\n")
        # The picture is that of the prompt that came out.
        (plain,) = draw(server, seed=image["seed"], prompt=prompt, expand_prompt=False)
        assert plain["data"] == alone["data"]


def test_it_is_off_unless_asked_for(server: Server) -> None:
    (image,) = draw(server, expand_prompt=None)
    assert image["prompt"] == TEMPLATE


@pytest.mark.parametrize(
    ("template", "status", "words"),
    [
        ("{" * 2_000, 422, "at most 200 of {, | and __"),
        ("{" * 60 + "a|b" + "}" * 60, 422, "at most 10 {"),
        ("{a|b", 400, "cannot be read"),
        ("{100000$$__colour__|a}" * 70, 422, "at most 200 of {, | and __"),
        ("${a={b|c}}", 400, "is not supported"),
        ("__../colour__", 422, "names the wildcard '../colour'; there are colour"),
        ("__hue__", 422, "names the wildcard 'hue'; there are colour"),
        ("{0::a|0::b}", 422, "weights"),
    ],
)
def test_what_cannot_be_expanded_is_refused(
    server: Server, template: str, status: int, words: str
) -> None:
    response = server.client.post("/txt2img", json={**BODY, "prompt": template})
    assert response.status_code == status
    error = response.json()["error"]
    assert error["field"] == "prompt"
    assert words in error["message"]
