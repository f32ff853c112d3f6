"""The same picture by every protocol: alone, and all of them at the same time."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from tests.integration.server import Server

Pixels = NDArray[np.int16]

PROMPT = "a red apple on a blue background"
SIZE = {"width": 64, "height": 64}
FIELDS = {"num_inference_steps": 8, "guidance_scale": 3.0, "scheduler": "ddim", **SIZE}
# A pass has all of them, in an order and in company that differ.
SEEDS = range(3)


def post(client: httpx.Client, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    response = client.post(path, json=body, headers=headers)
    assert response.is_success, f"{path}: {response.text}"
    return response


def native(client: httpx.Client, seed: int) -> bytes:
    return post(client, "/txt2img", {"prompt": PROMPT, "seed": seed, **FIELDS}).content


def kserve_v1(client: httpx.Client, seed: int) -> bytes:
    instance = {"prompt": PROMPT, "seed": seed, **FIELDS}
    answer = post(client, "/v1/models/embedded:predict", {"instances": [instance]}).json()
    return base64.b64decode(answer["predictions"][0]["images"][0]["data"])


def kserve_v2(client: httpx.Client, seed: int) -> bytes:
    body = {"inputs": [], "parameters": {"prompt": PROMPT, "seed": seed, **FIELDS}}
    outputs = post(client, "/v2/models/embedded/infer", body).json()["outputs"]
    (images,) = (one["data"] for one in outputs if one["name"] == "images")
    return base64.b64decode(images[0])


def openai(client: httpx.Client, seed: int) -> bytes:
    body = {"model": "embedded", "prompt": PROMPT, "seed": seed, **FIELDS}
    answer = post(client, "/v1/images/generations", body).json()
    return base64.b64decode(answer["data"][0]["b64_json"])


def a1111(client: httpx.Client, seed: int) -> bytes:
    body = {"prompt": PROMPT, "seed": seed, "steps": 8, "cfg_scale": 3.0, "sampler_name": "DDIM"}
    answer = post(client, "/sdapi/v1/txt2img", {**body, **SIZE}).json()
    return base64.b64decode(answer["images"][0])


def prediction(client: httpx.Client, seed: int) -> bytes:
    order = {"input": {"prompt": PROMPT, "seed": seed, **FIELDS}}
    state = post(client, "/predictions", order, Prefer="wait=60").json()
    assert state["status"] == "succeeded", state
    return client.get(state["output"][0]).content


PROTOCOLS: tuple[Callable[[httpx.Client, int], bytes], ...] = (
    native,
    kserve_v1,
    kserve_v2,
    openai,
    a1111,
    prediction,
)


@pytest.mark.slow
def test_company_of_other_protocols_changes_nothing(server: Server) -> None:
    alone = {seed: pixels(native(server.client, seed)) for seed in SEEDS}
    calls = [(ask, seed) for seed in SEEDS for ask in PROTOCOLS]
    before = server.metric("sd_step_batch_size_sum") - server.metric("sd_step_batch_size_count")

    with ThreadPoolExecutor(len(calls)) as pool:
        pictures = list(pool.map(lambda call: call[0](server.client, call[1]), calls))

    after = server.metric("sd_step_batch_size_sum") - server.metric("sd_step_batch_size_count")
    assert after > before, "they have shared passes"
    for (ask, seed), picture in zip(calls, pictures, strict=True):
        difference = np.abs(pixels(picture) - alone[seed]).max()
        assert difference <= 1, (ask.__name__, seed)


def pixels(picture: bytes) -> Pixels:
    return np.asarray(PIL.Image.open(io.BytesIO(picture)).convert("RGB"), np.int16)
