"""The web UI's API, spoken by webuiapi as it is, and as the web UI's own tests speak it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import httpx
import PIL.Image
import PIL.ImageChops
import pytest
import webuiapi

from tests import uploads
from tests.integration.server import WAIT_SECONDS, Server, wait_until


def in_base64(picture: PIL.Image.Image) -> str:
    return base64.b64encode(uploads.encode(picture)).decode()


PICTURE = uploads.red_and_blue().resize((64, 64))
MASK = PIL.Image.new("L", (64, 64), 0)
MASK.paste(255, (16, 16, 48, 48))
# What the web UI's own tests send each time, for both kinds of pictures.
COMMON: dict[str, Any] = {
    "batch_size": 1,
    "cfg_scale": 7,
    "eta": 0,
    "height": 64,
    "n_iter": 1,
    "negative_prompt": "",
    "prompt": "example prompt",
    "restore_faces": False,
    "s_churn": 0,
    "s_noise": 1,
    "s_tmax": 0,
    "s_tmin": 0,
    "sampler_index": "Euler a",
    "seed": -1,
    "seed_resize_from_h": -1,
    "seed_resize_from_w": -1,
    "steps": 3,
    "styles": [],
    "subseed": -1,
    "subseed_strength": 0,
    "tiling": False,
    "width": 64,
}
OF_A_TEXT: dict[str, Any] = {
    **COMMON,
    "denoising_strength": 0,
    "enable_hr": False,
    "firstphase_height": 0,
    "firstphase_width": 0,
}
OF_A_PICTURE: dict[str, Any] = {
    **COMMON,
    "denoising_strength": 0.75,
    "init_images": [in_base64(PICTURE)],
    "include_init_images": False,
    "inpaint_full_res": False,
    "inpaint_full_res_padding": 0,
    "inpainting_fill": 0,
    "inpainting_mask_invert": False,
    "mask": None,
    "mask_blur": 4,
    "override_settings": {},
    "resize_mode": 0,
}


def opened(text: str) -> PIL.Image.Image:
    picture: PIL.Image.Image = PIL.Image.open(BytesIO(base64.b64decode(text)))
    picture.load()
    return picture


def distance(one: PIL.Image.Image, other: PIL.Image.Image) -> int:
    """The largest difference of two pictures in any of their bytes."""
    return max(PIL.ImageChops.difference(one, other).tobytes())


@contextmanager
def at(server: Server, address: str) -> Iterator[httpx.Client]:
    """A client at another address: all of 127.0.0.0/8 are this machine."""
    transport = httpx.HTTPTransport(local_address=address, verify=False)
    url = f"{server.url}/sdapi/v1"
    with httpx.Client(base_url=url, transport=transport, timeout=WAIT_SECONDS) as client:
        yield client


@pytest.fixture
def api(server: Server) -> Any:
    return webuiapi.WebUIApi(host="127.0.0.1", port=server.port, sampler="DPM++ 2M", steps=3)


def test_webuiapi_makes_the_pictures_of_the_native_endpoint(server: Server, api: Any) -> None:
    result = api.txt2img(
        prompt="a (red:1.2) apple", negative_prompt="x", seed=7, width=64, height=72, batch_size=2
    )
    native = server.client.post(
        "/txt2img",
        json={
            "prompt": "a (red:1.2) apple",
            "negative_prompt": "x",
            "seed": 7,
            "width": 64,
            "height": 72,
            "num_inference_steps": 3,
            "guidance_scale": 7.0,
            "scheduler": "dpmpp_2m_karras",
            "num_images": 2,
        },
    ).json()

    assert result.info["all_seeds"] == [7, 8]
    assert result.info["ignored"] == []
    theirs = [opened(one["data"]) for one in native["images"]]
    assert all(distance(*each) <= 1 for each in zip(result.images, theirs, strict=True))
    # Both kinds of files, by its own reader.
    seen = api.png_info(result.image)
    assert seen.info == result.info["infotexts"][0]
    assert seen.parameters["Prompt"] == "a (red:1.2) apple"
    assert api.png_info(theirs[0]).parameters["Sampler"] == "dpmpp_2m_karras"


def test_webuiapi_from_pictures(api: Any) -> None:
    fields: dict[str, Any] = {"prompt": "x", "seed": 7, "width": 64, "height": 64}
    plain = api.img2img(images=[PICTURE], **fields)
    fields |= {"images": [PICTURE], "mask_image": MASK, "mask_blur": 0}
    inside, outside = (
        api.img2img(inpainting_mask_invert=inverted, **fields).image for inverted in (0, 1)
    )

    assert plain.image.size == (64, 64)
    assert plain.info["denoising_strength"] == 0.75
    # Of the corner, which one of them has kept, and of the middle, which the other has.
    for place, kept, changed in (
        ((0, 0, 8, 8), inside, outside),
        ((28, 28, 36, 36), outside, inside),
    ):
        original = PICTURE.crop(place)
        assert distance(kept.crop(place), original) < distance(changed.crop(place), original)
    assert api.interrogate(PICTURE).info


def test_webuiapi_asks_for_all_that_there_is(api: Any) -> None:
    assert api.util_get_model_names() == ["embedded"]
    api.util_set_model("embed")
    assert api.util_get_current_model() == "embedded"
    api.util_wait_for_ready(check_interval=0.1)
    for name in (
        *("options", "cmd_flags", "samplers", "sd_vae", "upscalers", "latent_upscale_modes"),
        *("loras", "hypernetworks", "face_restorers", "realesrgan_models", "prompt_styles"),
        *("scripts", "embeddings", "memory"),
    ):
        assert "detail" not in getattr(api, f"get_{name}")(), name
    assert (api.interrupt(), api.skip(), api.refresh_checkpoints()) == ({}, {}, {})
    with pytest.raises(RuntimeError, match="sampler_name must be one of"):
        api.txt2img(prompt="x", sampler_name="Restart")


def test_the_cases_of_the_web_uis_own_tests(server: Server) -> None:
    """Each is to work there: so it does here, but for scripts."""
    syntax = "((emphasis)), (emphasis1:1.1), [to:1], [from::2], [from:to:0.3], [alt|alt1]"
    cases: list[tuple[str, dict[str, Any], int, list[str]]] = [
        ("txt2img", {}, 1, []),
        ("txt2img", {"negative_prompt": "example negative prompt"}, 1, []),
        ("txt2img", {"prompt": syntax}, 1, ["prompt"] * 4),
        ("txt2img", {"height": 128}, 1, []),
        ("txt2img", {"enable_hr": True, "denoising_strength": 0.75}, 1, ["hr_upscaler"]),
        ("txt2img", {"tiling": True}, 1, ["tiling"]),
        ("txt2img", {"restore_faces": True}, 1, ["restore_faces"]),
        *(("txt2img", {"sampler_index": name}, 1, []) for name in ("PLMS", "DDIM", "UniPC")),
        ("txt2img", {"n_iter": 2}, 2, []),
        ("txt2img", {"batch_size": 2}, 2, []),
        ("img2img", {}, 1, []),
        ("img2img", {"mask": in_base64(MASK)}, 1, ["mask_blur", "inpainting_fill"]),
        (
            "img2img",
            {"mask": in_base64(MASK), "inpainting_mask_invert": True},
            1,
            ["mask_blur", "inpainting_fill"],
        ),
    ]
    for kind, changes, count, ignored in cases:
        fields = OF_A_TEXT if kind == "txt2img" else OF_A_PICTURE
        response = server.client.post(f"/sdapi/v1/{kind}", json={**fields, **changes})
        assert response.status_code == 200, response.text
        body = response.json()
        info = json.loads(body["info"])
        assert len(body["images"]) == len(set(info["all_seeds"])) == count
        reported = [note.partition(":")[0] for note in info["ignored"] if note[:4] != "eta:"]
        assert reported == ignored
    upscale = {**OF_A_PICTURE, "script_name": "sd upscale", "script_args": ["", 8, "Lanczos", 2.0]}
    refused = server.client.post("/sdapi/v1/img2img", json=upscale)
    assert (refused.status_code, refused.json()["field"]) == (422, "script_name")

    options = server.client.get("/sdapi/v1/options").json()
    flipped = {"send_seed": not options["send_seed"]}
    assert server.client.post("/sdapi/v1/options", json=flipped).status_code == 200
    assert server.client.get("/sdapi/v1/options").json()["send_seed"] is flipped["send_seed"]
    server.client.post("/sdapi/v1/options", json={"send_seed": options["send_seed"]})


def test_one_clients_interrupt_leaves_another_its_pictures(server: Server) -> None:
    long = {
        "prompt": "x",
        "steps": 150,
        "width": 160,
        "height": 160,
        "seed": 1,
    }
    short = {"prompt": "x", "steps": 20, "width": 96, "height": 96, "seed": 2}
    with (
        at(server, "127.0.0.2") as mine,
        at(server, "127.0.0.2") as also_mine,
        at(server, "127.0.0.3") as theirs,
        ThreadPoolExecutor() as pool,
    ):
        alone = theirs.post("/txt2img", json=short).json()
        endless = pool.submit(mine.post, "/txt2img", json=long)
        other = pool.submit(theirs.post, "/txt2img", json=short)
        wait_until(
            lambda: also_mine.get("/progress").json()["state"]["sampling_step"], "a first step"
        )
        progress = also_mine.get("/progress").json()
        assert 0 < progress["progress"] < 1
        assert (progress["state"]["job_count"], progress["state"]["job_no"]) == (1, 0)
        assert progress["state"]["sampling_steps"] == long["steps"]

        assert also_mine.post("/interrupt").json() == {}
        given_up = endless.result(WAIT_SECONDS).json()
        assert given_up["images"] == []
        assert json.loads(given_up["info"])["interrupted"] is True
        finished = other.result(WAIT_SECONDS).json()
        assert json.loads(finished["info"])["interrupted"] is False
        assert distance(opened(finished["images"][0]), opened(alone["images"][0])) <= 1
        idle = also_mine.get("/progress").json()
        assert (idle["progress"], idle["state"]["job_count"]) == (0, 0)
    # The engine has stopped with it.
    wait_until(lambda: not server.metric("sd_queue_depth"), "an empty queue")


def test_other_clients_options_are_their_own(server: Server) -> None:
    with at(server, "127.0.0.4") as mine, at(server, "127.0.0.5") as theirs:
        mine.post("/options", json={"samples_format": "webp"})
        answers = [client.post("/txt2img", json=OF_A_TEXT).json() for client in (mine, theirs)]
    formats = [opened(answer["images"][0]).format for answer in answers]
    assert formats == ["WEBP", "PNG"]
