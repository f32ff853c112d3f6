"""OpenAI's client, unchanged, against a real server."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import openai
import PIL.Image
import PIL.ImageChops
import pytest

from tests import uploads
from tests.integration.server import WAIT_SECONDS, Server

PROMPT = "a red apple on a blue background"
FIELDS = {"num_inference_steps": 2, "guidance_scale": 3.3, "seed": 7}
PICTURE = ("picture.png", uploads.encode(uploads.red_and_blue()), "image/png")


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{server.url}/v1", api_key="none", timeout=WAIT_SECONDS, max_retries=0
    ) as client:
        yield client


def native(server: Server, path: str = "/txt2img", **arguments: Any) -> str:
    """A picture of the service's own endpoint, in base64."""
    response = server.client.post(path, **arguments)
    assert response.status_code == 200, response.text
    return base64.b64encode(response.content).decode()


def same(found: str | None, expected: str) -> bool:
    """Whether they are the same picture. What shares a pass may differ in the last bit."""
    pictures = [PIL.Image.open(BytesIO(base64.b64decode(one or ""))) for one in (found, expected)]
    extrema: Any = PIL.ImageChops.difference(*pictures).getextrema()
    return pictures[0].info == pictures[1].info and max(high for _, high in extrema) <= 1


def mask() -> tuple[str, bytes, str]:
    """What is to be edited is transparent: the left half."""
    picture = PIL.Image.new("RGBA", (40, 20), "black")
    picture.paste((0, 0, 0, 0), (0, 0, 20, 20))
    return "mask.png", uploads.encode(picture), "image/png"


def test_models(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]

    assert (names[0], names[-1]) == ("embedded", "gpt-image-1")
    assert client.models.retrieve("gpt-image-1").object == "model"
    with pytest.raises(openai.NotFoundError) as unknown:
        client.models.retrieve("dall-e-3")
    assert unknown.value.code == "model_not_found"


def test_generate(client: openai.OpenAI, server: Server) -> None:
    response = client.images.generate(
        model="gpt-image-1",
        prompt=PROMPT,
        n=2,
        size="64x72",
        quality="high",
        user="someone",
        extra_body={**FIELDS, "negative_prompt": "blurry"},
    )

    assert response.data is not None
    body = {"prompt": PROMPT, "width": 64, "height": 72, "negative_prompt": "blurry", **FIELDS}
    alone = [native(server, json={**body, "seed": seed}) for seed in (7, 8)]
    for image, expected in zip(response.data, alone, strict=True):
        assert same(image.b64_json, expected)
    assert response.usage is not None
    assert response.usage.total_tokens == 8 + 2 * 20
    assert response.model_extra is not None
    told = [sentence.partition(" ")[0] for sentence in response.model_extra["warnings"]]
    assert told == ["quality", "user"]
    assert response._request_id


def test_links(client: openai.OpenAI, server: Server) -> None:
    """The picture that a link leads to is the one that would have come."""
    response = client.images.generate(
        prompt=PROMPT, response_format="url", extra_body={**FIELDS, "width": 64, "height": 72}
    )
    assert response.data is not None
    linked = httpx.get(response.data[0].url or "")
    assert linked.headers["etag"]
    expected = native(server, json={"prompt": PROMPT, "width": 64, "height": 72, **FIELDS})
    assert same(base64.b64encode(linked.content).decode(), expected)


def test_formats(client: openai.OpenAI) -> None:
    sizes = []
    for quality in (100, 10):
        response = client.images.generate(
            prompt=PROMPT, output_format="jpeg", output_compression=quality, extra_body=FIELDS
        )
        assert response.data is not None
        data = base64.b64decode(response.data[0].b64_json or "")
        assert PIL.Image.open(BytesIO(data)).format == "JPEG"
        sizes.append(len(data))
    assert sizes[0] > 1.5 * sizes[1]


def test_edit_and_variation(client: openai.OpenAI, server: Server) -> None:
    fields = {**FIELDS, "width": 64, "height": 72}
    # Several are written as ``image[]``.
    for image in (PICTURE, [PICTURE]):
        edited = client.images.edit(
            image=image, mask=mask(), prompt=PROMPT, n=1, extra_body={**fields, "strength": 0.9}
        )
        assert edited.data is not None
        white = PIL.Image.new("RGB", (40, 20))
        white.paste("white", (0, 0, 20, 20))
        form = {
            "img": PICTURE,
            "mask": ("m.png", uploads.encode(white), "image/png"),
            "data": (None, json.dumps({"prompt": PROMPT, **fields, "strength": 0.9})),
        }
        assert same(edited.data[0].b64_json, native(server, "/inpaint", files=form))

    with pytest.warns(DeprecationWarning, match="deprecated"):
        varied = client.images.create_variation(
            image=PICTURE,
            extra_body={**FIELDS, "strength": 1},
        )
    assert varied.data is not None
    form = {"img": PICTURE, "data": (None, json.dumps({"prompt": "", **FIELDS, "strength": 1}))}
    assert same(varied.data[0].b64_json, native(server, "/img2img", files=form))

    with pytest.raises(openai.BadRequestError) as several:
        client.images.edit(image=[PICTURE, PICTURE], prompt=PROMPT)
    assert several.value.param == "image"


@pytest.mark.slow
def test_streams(client: openai.OpenAI) -> None:
    # Long enough for the engine to report its progress, ten times a second, on any machine.
    fields = {**FIELDS, "num_inference_steps": 60}
    stream = client.images.generate(prompt=PROMPT, stream=True, partial_images=3, extra_body=fields)
    events = list(stream)
    partial = [one for one in events if one.type == "image_generation.partial_image"]
    finished = [one for one in events if one.type == "image_generation.completed"]
    assert len(events) == len(partial) + len(finished)
    (first,) = finished
    assert 0 < len(partial) <= 3
    for one in partial:
        picture = PIL.Image.open(BytesIO(base64.b64decode(one.b64_json)))
        assert (picture.format, picture.width < 64) == ("PNG", True)
    whole = client.images.generate(prompt=PROMPT, extra_body=fields)
    assert whole.data is not None
    assert same(first.b64_json, whole.data[0].b64_json or "")
    assert first.usage.output_tokens == 16

    edit = client.images.edit(image=PICTURE, prompt=PROMPT, stream=True, extra_body=FIELDS)
    assert [one.type for one in edit] == ["image_edit.completed"]


def test_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.images.generate(prompt=PROMPT, model="dall-e-3")
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    for fields, param in (
        ({"size": "100x64"}, "size"),
        ({"response_format": "link"}, "response_format"),
        ({"background": "transparent"}, "background"),
        ({"steps": 3}, "steps"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            client.images.generate(prompt=PROMPT, extra_body=fields)
        assert refused.value.param == param
        assert refused.value.request_id


def test_many_at_once(client: openai.OpenAI, server: Server) -> None:
    """Of the asynchronous client: each gets the picture that its request gives alone."""

    async def ask() -> list[str | None]:
        async with openai.AsyncOpenAI(
            base_url=f"{server.url}/v1", api_key="none", timeout=WAIT_SECONDS, max_retries=0
        ) as clients:
            made = await asyncio.gather(
                *(
                    clients.images.generate(prompt=PROMPT, extra_body={**FIELDS, "seed": seed})
                    for seed in range(4)
                )
            )
            stream = await clients.images.generate(prompt=PROMPT, stream=True, extra_body=FIELDS)
            (event,) = [one async for one in stream]
            return [one.data[0].b64_json for one in made if one.data] + [event.b64_json]

    *made, streamed = asyncio.run(ask())
    body = {"prompt": PROMPT, **FIELDS}
    for seed, picture in enumerate(made):
        assert same(picture, native(server, json={**body, "seed": seed}))
    assert same(streamed, native(server, json=body))
