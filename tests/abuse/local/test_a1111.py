"""Hostile requests of the web UI's API: values, bodies, pictures, prompts, texts in files."""

from __future__ import annotations

import base64
import json
import time
import zlib
from itertools import product
from typing import Any, Final

import httpx
import pytest

from tests import uploads
from tests.abuse.hostile_json import BODIES, VALUES
from tests.abuse.pictures import HOSTILE
from tests.abuse.raw_http import post
from tests.abuse.target import PICTURE, Target, attack_meanwhile
from tests.effort import effort

BASE: Final = "/sdapi/v1/"
STATUSES = {200, 400, 404, 413, 415, 422}
SECONDS = 20.0
# One step, and small: what is tried is the way in.
SHORT: Final[dict[str, Any]] = {"prompt": "x", "steps": 1, "seed": 1, "denoising_strength": 1}
PATHS: Final[dict[str, dict[str, Any]]] = {
    "txt2img": SHORT,
    "img2img": SHORT | {"init_images": [base64.b64encode(PICTURE).decode()]},
    "options": {},
    "png-info": {},
    "interrogate": {},
}
FIELDS: Final = (
    *[("txt2img", name) for name in ("prompt", "styles", "seed", "steps", "sampler_name", "eta")],
    *[("txt2img", name) for name in ("scheduler", "batch_size", "n_iter", "width", "cfg_scale")],
    *[("txt2img", name) for name in ("override_settings", "alwayson_scripts", "script_args")],
    *[("txt2img", name) for name in ("refiner_checkpoint", "force_task_id", "nobody_knows_it")],
    *[("img2img", name) for name in ("init_images", "mask", "resize_mode", "mask_blur")],
    *[("img2img", name) for name in ("denoising_strength", "inpainting_mask_invert")],
    *[("options", name) for name in ("sd_model_checkpoint", "samples_format", "nobody_knows_it")],
    *[("png-info", "image"), ("interrogate", "image"), ("interrogate", "model")],
)
# Only with a second pass.
SECOND: Final = ("hr_scale", "hr_resize_x", "hr_second_pass_steps", "hr_sampler_name", "hr_prompt")


def _post(victim: Target, path: str, content: bytes) -> httpx.Response:
    started = time.monotonic()
    headers = {"Content-Type": "application/json"}
    response = victim.server.client.post(BASE + path, content=content, headers=headers)
    assert time.monotonic() - started < SECONDS
    assert response.status_code in STATUSES, response.text[:500]
    if response.status_code != 200:
        body = response.json()
        assert body.keys() >= {"error", "detail", "body", "errors"}
        assert len(body["detail"]) < 2000
        assert "Traceback" not in body["detail"]
    return response


def _with(fields: dict[str, Any], name: str, value: bytes) -> bytes:
    texts = {key: json.dumps(given).encode() for key, given in fields.items()} | {name: value}
    return b"{" + b",".join(b'"%s":%s' % (key.encode(), one) for key, one in texts.items()) + b"}"


def test_a_value_of_any_kind_in_any_field(victim: Target) -> None:
    """Usually every eighth of them."""
    for path, name, value in [(*each, value) for each, value in product(FIELDS, VALUES)][
        :: effort(8, 1)
    ]:
        _post(victim, path, _with(PATHS[path], name, VALUES[value]))
    for name, value in list(product(SECOND, VALUES))[:: effort(8, 1)]:
        _post(victim, "txt2img", _with(SHORT | {"enable_hr": True}, name, VALUES[value]))
    # Kept for the client, they would be those of the tests that follow.
    _post(victim, "options", b'{"sd_model_checkpoint":null,"samples_format":"png"}')


def test_a_body_of_any_kind(victim: Target) -> None:
    for path, name in list(product(PATHS, BODIES))[:: effort(4, 1)]:
        _post(victim, path, BODIES[name])


def test_a_picture_of_any_kind(victim: Target) -> None:
    """The small ones, and in a file with texts everything that walks it."""
    for name in list(HOSTILE)[:: effort(4, 1)]:
        data = HOSTILE[name]()
        if len(data) > 1_000_000:
            continue
        written = json.dumps(base64.b64encode(data).decode()).encode()
        _post(victim, "img2img", _with(SHORT, "init_images", b"[" + written + b"]"))
        _post(victim, "png-info", _with({}, "image", written))
    texts = [
        b"parameters\0" + b"a: b," * 100_000,
        b"parameters\0" + b'a: "\\' * 100_000,
        b"parameters\0\1\0\0\0" + zlib.compress(bytes(64 * 1024 * 1024)),
    ]
    for kind, text in product((b"tEXt", b"zTXt", b"iTXt"), texts):
        chunk = len(text).to_bytes(4) + kind + text + zlib.crc32(kind + text).to_bytes(4)
        file = uploads.png(1, 1, zlib.compress(bytes(4)), chunk)
        _post(
            victim,
            "png-info",
            _with({}, "image", json.dumps(base64.b64encode(file).decode()).encode()),
        )


@pytest.mark.parametrize(
    "prompt", ["(" * 2000, "(a:" * 660, "[a:1]" * 400, "<lora:a:" * 250, "((a)[b" * 333, ":1" * 999]
)
def test_prompts_of_brackets(victim: Target, prompt: str) -> None:
    _post(victim, "txt2img", json.dumps(SHORT | {"prompt": prompt}).encode())


@pytest.mark.slow
def test_large_bodies_do_not_stop_the_others(victim: Target) -> None:
    bombs = [
        b'{"init_images":[' + b",".join([b'""'] * 1_000_000) + b"]}",
        b'{"prompt":"x","alwayson_scripts":{'
        + b",".join(b'"f%d":[]' % number for number in range(400_000))
        + b"}}",
        b'{"prompt":"' + b"(" * 10_000_000 + b'"}',
    ]
    statuses, longest = attack_meanwhile(
        victim, [post(bomb, BASE + "img2img") for bomb in bombs] * effort(1, 4)
    )

    assert set(statuses) <= {400, 413, 422, 429}
    assert longest < 2
