"""Every field of the web UI's API has an effect, is refused, or is reported."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any, Final

import pytest
from starlette.testclient import TestClient

from api.protocols.a1111.schemas import Generation, WebUIImg2Img, WebUITxt2Img
from tests import uploads
from tests.unit.api.conftest import ColourBackend, make_lora

PICTURE: Final = base64.b64encode(uploads.encode(uploads.red_and_blue())).decode()
# With which all fields mean something.
BASE: Final[dict[str, dict[str, Any]]] = {
    "txt2img": {"enable_hr": True, "hr_scale": 2, "hr_upscaler": "Lanczos"},
    "img2img": {"init_images": [PICTURE], "mask": PICTURE},
}
COMMON: Final[dict[str, Any]] = {
    "prompt": "a <lora:clay:0.5> pear",
    "seed": 1,
    "steps": 8,
    "width": 64,
    "height": 72,
}
# One that is neither the default nor that of the others.
OTHER: Final[dict[str, Any]] = {
    "prompt": "a plum",
    "negative_prompt": "blurry",
    "styles": ["one"],
    "seed": 2,
    "sampler_name": "Euler a",
    "sampler_index": "Euler a",
    "scheduler": "karras",
    "width": 80,
    "height": 80,
    "refiner_checkpoint": "sdxl",
    "override_settings": {"samples_format": "webp"},
    "send_images": False,
    "script_name": "x/y/z plot",
    "alwayson_scripts": {"ControlNet": {"args": [{"enabled": True}]}},
    "infotext": "a pear",
    "enable_hr": False,
    "hr_upscaler": "R-ESRGAN 4x+",
    "hr_checkpoint_name": "other",
    "hr_sampler_name": "Euler a",
    "hr_scheduler": "karras",
    "hr_prompt": "a plum",
    "hr_negative_prompt": "grey",
    "hr_scale": 1.5,
    "hr_resize_x": 96,
    "hr_resize_y": 144,
    "init_images": [base64.b64encode(uploads.encode(uploads.red_and_blue().rotate(90))).decode()],
    "mask": base64.b64encode(uploads.encode(uploads.red_and_blue().rotate(180))).decode(),
    "denoising_strength": 0.5,
    "cfg_scale": 2.5,
    "resize_mode": 1,
    "inpainting_fill": 2,
    "s_churn": 0.5,
    "s_tmin": 0.5,
    "override_settings_restore_afterwards": False,
    "mask_round": False,
    "image_cfg_scale": 2.5,
    "script_args": [],
}
# What they say is so in any case, or is of something else that is refused or reported by itself.
EXEMPT: Final = {
    "force_task_id",  # a name, of ``progress``
    "do_not_save_samples",  # nothing is kept
    "do_not_save_grid",
    "script_args",  # of ``script_name``
    "subseed",  # of ``subseed_strength``
    "refiner_switch_at",  # of ``refiner_checkpoint``
    "inpaint_full_res_padding",  # of ``inpaint_full_res``
}


def outcome(client: TestClient, backend: ColourBackend, kind: str, fields: Any) -> Any:
    """All that a client and the engine see of a request."""
    backend.requests.clear()
    response = client.post(f"/sdapi/v1/{kind}", json=fields)
    if response.status_code != 200:
        return response.status_code, response.json()["errors"]
    body = response.json()
    info = json.loads(body["info"])
    made = [replace(one, request_id="", deadline=0.0) for one in backend.requests]
    return made, info.get("ignored"), body["images"]


@pytest.mark.parametrize(("kind", "schema"), [("txt2img", WebUITxt2Img), ("img2img", WebUIImg2Img)])
def test_every_field(
    kind: str, schema: type[Generation], client: TestClient, backend: ColourBackend
) -> None:
    backend.loras = (make_lora("clay"),)
    base = {**COMMON, **BASE[kind]}
    before = outcome(client, backend, kind, base)
    assert isinstance(before[0], list), before
    assert before == outcome(client, backend, kind, base), "it depends on the request alone"
    silent = []
    for name, field in schema.model_fields.items():
        value = OTHER.get(name, 3 if "bool" not in str(field.annotation) else True)
        assert base.get(name) != value, name
        if outcome(client, backend, kind, {**base, name: value}) == before:
            silent.append(name)
    assert set(silent) <= EXEMPT, silent
    assert outcome(client, backend, kind, {**base, "colour": 1}) != before
