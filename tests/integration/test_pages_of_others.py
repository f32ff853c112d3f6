"""Open WebUI and SillyTavern: the requests that these pages send, as they send them."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from typing import Any, Final

import httpx
import PIL.Image

from tests import uploads
from tests.integration.server import WAIT_SECONDS, Server

PROMPT: Final = "a red apple on a blue background"
PICTURE: Final = uploads.encode(uploads.red_and_blue())
# What they send without a user and a password.
OPEN_WEBUI: Final = {"authorization": ""}
SILLYTAVERN: Final = {"authorization": "Basic"}


def _picture(text: str) -> PIL.Image.Image:
    picture = PIL.Image.open(BytesIO(base64.b64decode(text.partition(",")[2] or text)))
    picture.load()
    return picture


def _call(server: Server, method: str, path: str, headers: dict[str, str], **more: Any) -> Any:
    response = httpx.request(
        method, server.url + path, headers=headers, timeout=WAIT_SECONDS, **more
    )
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


def test_open_webui_with_its_openai_engine(server: Server) -> None:
    """Pictures, then edits of one."""
    key = {"authorization": "Bearer none"}
    # Where an API version is set; additional parameters are sent as they are.
    version, more = "?api-version=2025-04-01-preview", {"num_inference_steps": 2}
    body = {"model": "embedded", "prompt": PROMPT, "n": 2, "size": "64x64", **more}
    made = _call(
        server,
        "POST",
        f"/v1/images/generations{version}",
        key,
        json={**body, "response_format": "b64_json"},
    )
    assert [_picture(one["b64_json"]).size for one in made["data"]] == [(64, 64)] * 2
    # Of models named like that it asks for no format, and for any size.
    alias = {"model": "gpt-image-1", "prompt": PROMPT, "n": 1, "size": "auto", **more}
    (one,) = _call(server, "POST", "/v1/images/generations", key, json=alias)["data"]
    assert not one.get("url")
    assert _picture(one["b64_json"]).size == (64, 64)

    # All fields of a form are texts; of several pictures each is an image[].
    form = {"model": "embedded", "prompt": PROMPT, "n": "1", "size": "64x64"}
    for name in ("image", "image[]"):
        edited = _call(
            server,
            "POST",
            f"/v1/images/edits{version}",
            key,
            data={**form, "response_format": "b64_json", "background": "auto"},
            files=[(name, ("picture.png", PICTURE, "image/png"))],
        )
        assert _picture(edited["data"][0]["b64_json"]).size == (64, 64)


def test_open_webui_with_its_automatic1111_engine(server: Server) -> None:
    """Its check, its list of models, its choice of one, which sends all options back, a picture."""
    options = _call(server, "GET", "/sdapi/v1/options", OPEN_WEBUI)
    models = _call(server, "GET", "/sdapi/v1/sd-models", OPEN_WEBUI)
    chosen = next(one for one in models if one["model_name"] == "embedded")
    options["sd_model_checkpoint"] = chosen["title"]
    _call(server, "POST", "/sdapi/v1/options", OPEN_WEBUI, json=options)
    body = {"prompt": PROMPT, "batch_size": 2, "width": 64, "height": 64, "steps": 2}
    more = {
        "negative_prompt": "blurry",
        "cfg_scale": 5,
        "sampler_name": "Euler",
        "scheduler": "Automatic",
    }
    made = _call(server, "POST", "/sdapi/v1/txt2img", OPEN_WEBUI, json=body | more)
    assert [_picture(one).size for one in made["images"]] == [(64, 64)] * 2
    assert isinstance(made["info"], str)


def test_sillytavern(server: Server) -> None:
    """What its extension asks for when it connects, and a picture with all that it says of one."""
    named = ("upscalers", "latent-upscale-modes", "samplers", "schedulers")
    lists = {
        name: _call(server, "GET", f"/sdapi/v1/{name}", SILLYTAVERN)
        for name in (*named, "sd-models", "sd-vae", "sd-modules")
    }
    assert all(one["name"] for name in named for one in lists[name])
    assert lists["sd-vae"] == lists["sd-modules"] == []
    model = lists["sd-models"][0]["title"]
    _call(server, "POST", "/sdapi/v1/options", SILLYTAVERN, json={"sd_model_checkpoint": model})
    progress = _call(server, "GET", "/sdapi/v1/progress", SILLYTAVERN)
    assert (progress["progress"], progress["state"]["job_count"]) == (0.0, 0)
    options = _call(server, "GET", "/sdapi/v1/options", SILLYTAVERN)
    assert options["sd_model_checkpoint"] == model
    assert "forge_preset" not in options
    body = {
        "url": server.url,
        "auth": "",
        "prompt": PROMPT,
        "negative_prompt": "blurry",
        "sampler_name": "DPM++ 2M",
        "scheduler": "Karras",
        "steps": 2,
        "cfg_scale": 7,
        "width": 64,
        "height": 64,
        "restore_faces": False,
        "enable_hr": True,
        "hr_upscaler": "Latent",
        "hr_scale": 1.5,
        "hr_additional_modules": [],
        "denoising_strength": 0.7,
        "hr_second_pass_steps": 2,
        "override_settings": {"CLIP_stop_at_last_layers": 1},
        "override_settings_restore_afterwards": True,
        "clip_skip": 1,
        "save_images": True,
        "send_images": True,
        "do_not_save_grid": False,
        "do_not_save_samples": False,
    }
    made = _call(server, "POST", "/sdapi/v1/txt2img", SILLYTAVERN, json=body)
    assert _picture(made["images"][0]).size == (96, 96)
    # It wants to know of none of these: they say where it is, and what its own server is to do.
    reported = [note.partition(":")[0] for note in json.loads(made["info"])["ignored"]]
    assert reported == ["hr_upscaler", "save_images", "url", "auth", "hr_additional_modules"]
    # It gives up at a closed tab, whether or not something runs.
    _call(server, "POST", "/sdapi/v1/interrupt", SILLYTAVERN)
