"""Pictures through the web UI's API."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

from starlette.testclient import TestClient

from api.drain import Drain
from api.parameters import LoraParameter
from api.protocols.a1111.infotext import parse
from api.protocols.native.schemas import Txt2ImgBody
from contract.errors import ErrorCode
from contract.events import Failed
from contract.request import LoraUse
from tests.unit.api.conftest import TINY, ColourBackend, make_lora
from tests.unit.api.protocols.a1111.conftest import error_of, make, opened, refusal

# What webuiapi always sends, and what others send in vain.
NEUTRAL: dict[str, Any] = {
    "enable_hr": False,
    "hr_upscaler": "Latent",
    "denoising_strength": 0.7,
    "styles": [],
    "subseed": -1,
    "subseed_strength": 0.0,
    "seed_resize_from_h": 0,
    "seed_resize_from_w": -1,
    "restore_faces": False,
    "tiling": False,
    "do_not_save_samples": True,
    "eta": 1.0,
    "s_churn": 0,
    "s_tmax": 0,
    "s_tmin": 0,
    "s_noise": 1,
    "clip_skip": 1,
    "override_settings": {"CLIP_stop_at_last_layers": 1, "sd_vae": "Automatic"},
    "override_settings_restore_afterwards": True,
    "sampler_name": "Euler a",
    "script_name": None,
    "script_args": [],
    "save_images": False,
    "alwayson_scripts": {},
    "refiner_checkpoint": "None",
}


def test_the_fields_are_honoured(client: TestClient, backend: ColourBackend) -> None:
    backend.loras = (make_lora("clay"),)
    answer = make(
        client,
        prompt="a (pear:1.2) <lora:clay:0.8>",
        negative_prompt="[x]",
        sampler_name="DPM++ 2M",
        scheduler="Karras",
        steps="12",
        cfg_scale=5,
        width=72,
        height=64,
        seed=7,
    )

    (wanted,) = backend.requests
    assert wanted.prompt == "a (pear:1.2) "
    assert wanted.negative_prompt == "(x:0.909091)"
    assert wanted.loras == (LoraUse("clay:v1", 0.8),)
    assert (wanted.scheduler, wanted.num_inference_steps) == ("dpmpp_2m_karras", 12)
    assert (wanted.width, wanted.height, wanted.seed, wanted.guidance_scale) == (72, 64, 7, 5)
    assert opened(answer["images"][0]).size == (72, 64)
    assert answer["parameters"]["steps"] == 12
    assert answer["parameters"]["enable_hr"] is None


def test_what_is_left_out_is_the_models(client: TestClient, backend: ColourBackend) -> None:
    make(client, negative_prompt="", sampler_name=None)

    (wanted,) = backend.requests
    defaults = TINY.defaults
    assert (wanted.width, wanted.height) == (defaults.width, defaults.height)
    assert (wanted.scheduler, wanted.guidance_scale) == ("ddim", 4.0)
    # Some models tell that from an empty text; this API's clients always send one.
    assert wanted.negative_prompt is None


def test_info_and_the_files_say_how_it_was_made(client: TestClient, backend: ColourBackend) -> None:
    backend.loras = (make_lora("clay"),)
    backend.warnings = ("something was adjusted",)
    prompt = "((a pear)), Steps: 3 <lora:clay:0.5>"
    body = make(client, prompt=prompt, negative_prompt="x", seed=5, batch_size=2, **NEUTRAL)

    info = body["info"]
    assert info["all_prompts"] == [prompt] * 2
    assert info["all_negative_prompts"] == ["x"] * 2
    assert (info["seed"], info["all_seeds"]) == (5, [5, 6])
    assert (info["sd_model_name"], info["sampler_name"]) == ("tiny", "Euler a")
    assert info["warnings"] == ["something was adjusted"]
    assert info["ignored"] == []
    assert (info["width"], info["batch_size"], info["interrupted"]) == (128, 2, False)
    for file, text, seed in zip(body["images"], info["infotexts"], (5, 6), strict=True):
        assert opened(file).info["parameters"] == text
        fields = parse(text)
        assert (fields["Prompt"], fields["Negative prompt"]) == (prompt, "x")
        assert (fields["Seed"], fields["Sampler"]) == (str(seed), "Euler a")
        assert (fields["Schedule type"], fields["Model"]) == ("Automatic", "tiny")
        seen = client.post("/sdapi/v1/png-info", json={"image": file}).json()
        assert (seen["info"], seen["items"], seen["parameters"]) == (text, {}, fields)
        again = Txt2ImgBody.model_validate(seen["request"]).parameters()
        assert (again.seed, again.loras) == (seed, (LoraParameter("clay", 0.5),))


def test_batches(client: TestClient, backend: ColourBackend) -> None:
    body = make(client, seed=3, batch_size=2, n_iter=3)

    assert [(one.seed, one.num_images) for one in backend.requests] == [(3, 2), (5, 2), (7, 2)]
    assert body["info"]["all_seeds"] == [3, 4, 5, 6, 7, 8]
    assert len(body["images"]) == 6
    assert make(client, n_iter=2, send_images=False)["images"] == []


NO_EFFECT: list[tuple[dict[str, Any], str]] = [
    ({"restore_faces": True}, "restore_faces: faces are not restored"),
    ({"tiling": True}, "tiling: pictures do not tile"),
    ({"styles": ["x"]}, "styles: there are no styles"),
    ({"subseed_strength": 0.5}, "subseed_strength: there are no variations of seeds"),
    ({"clip_skip": 2}, "clip_skip: the text encoder's last layers"),
    ({"s_churn": 1}, "s_churn: "),
    ({"save_images": True}, "save_images: nothing is kept"),
    ({"eta": 0.5, "sampler_name": "Euler a"}, "eta: 1 is that of the sampler"),
    ({"scheduler": "karras", "sampler_name": "DDIM"}, "scheduler: DDIM has a schedule"),
    ({"override_settings": {"eta_noise_seed_delta": 3}}, "override_settings.eta_noise"),
    ({"alwayson_scripts": {"ADetailer": {"args": [False]}}}, "alwayson_scripts.ADetailer"),
    ({"alwayson_scripts": {"ControlNet": {"args": []}}}, "alwayson_scripts.ControlNet"),
    ({"hypertile": 1}, "hypertile: not a field here"),
    ({"prompt": "a AND b"}, "prompt: AND stands in the prompt"),
    ({"negative_prompt": "[a|b]"}, 'negative_prompt: "[a|b]" stands'),
    ({"prompt": "<lora:none:1>", "disable_extra_networks": True}, "prompt: its LoRAs are left"),
]


def test_what_has_no_effect_is_reported(client: TestClient) -> None:
    for fields, note in NO_EFFECT:
        (found,) = make(client, **fields)["info"]["ignored"]
        assert found.startswith(note)


def test_reports_are_bounded(client: TestClient) -> None:
    fields: dict[str, Any] = {f"{index}{'x' * 300}": 1 for index in range(100)}
    notes = make(client, **fields)["info"]["ignored"]

    assert len(notes) == 33
    assert notes[-1] == "and 68 more"
    assert max(map(len, notes)) <= 203


REFUSED: list[tuple[dict[str, Any], int, str, str]] = [
    ({"sampler_name": "DPM fast"}, 422, "sampler_name", "sampler_name must be one of DPM++ 2M"),
    ({"sampler_index": "x"}, 422, "sampler_name", "sampler_name must be one of"),
    ({"scheduler": "beta"}, 422, "scheduler", "scheduler must be one of automatic"),
    ({"steps": 0}, 422, "steps", "steps must be at least 1 and at most 150, got 0"),
    ({"steps": "many"}, 400, "steps", "steps must be an integer"),
    ({"cfg_scale": 31}, 422, "cfg_scale", "cfg_scale must be at least 0 and at most 30"),
    ({"width": 65}, 422, "width", "width must be a multiple of 8, got 65"),
    ({"batch_size": 0}, 422, "batch_size", "batch_size must be at least 1, got 0"),
    ({"n_iter": -1}, 422, "n_iter", "n_iter must be at least 1, got -1"),
    (
        {"batch_size": 3, "n_iter": 3},
        422,
        "batch_size",
        "batch_size x n_iter must be at most 8, got 3 x 3",
    ),
    ({"prompt": "x" * 2001}, 422, "prompt", "prompt must be at most 2000 characters long"),
    (
        {"prompt": "<lora:felt:1>"},
        404,
        "prompt.loras.0.name",
        'prompt.loras.0.name must be a LoRA of tiny, which are none; got "felt"',
    ),
    (
        {"override_settings": {"sd_model_checkpoint": "v8"}},
        404,
        "sd_model_checkpoint",
        'sd_model_checkpoint must be auto or one of tiny, got "v8"',
    ),
    (
        {"override_settings": {"samples_format": "gif"}},
        422,
        "override_settings.samples_format",
        "override_settings.samples_format must be one of png, jpg, jpeg, webp",
    ),
    ({"refiner_checkpoint": "x"}, 422, "refiner_checkpoint", "refiner_checkpoint must be abs"),
    ({"script_name": "x/y plot"}, 422, "script_name", "script_name must be absent"),
    (
        {"alwayson_scripts": {"ADetailer": {"args": [True, {"ad_model": "face"}]}}},
        422,
        "alwayson_scripts.ADetailer",
        "alwayson_scripts.ADetailer must be absent or switched off, as there are no scripts",
    ),
    ({"infotext": "a\nSteps: 3"}, 422, "infotext", "infotext must be absent"),
    ({"enable_hr": True, "hr_scale": 100}, 422, "hr_scale", "hr_scale must be at least 1"),
    (
        {"enable_hr": True, "hr_resize_x": 2048, "hr_resize_y": 2048},
        422,
        "hr_resize_x",
        "hr_resize_x x hr_resize_y must be at most 2400000 pixels",
    ),
    (
        {"enable_hr": True, "hr_sampler_name": "x"},
        422,
        "hr_sampler_name",
        "hr_sampler_name must be one of",
    ),
    (
        {"enable_hr": True, "hr_second_pass_steps": 10**30},
        422,
        "hr_second_pass_steps",
        "hr_second_pass_steps must be above 0 and at most 112.5 with a denoising_strength of 0.75",
    ),
    (
        {"enable_hr": True, "hr_resize_x": 10**400},
        422,
        "hr_resize_x",
        "hr_resize_x must be at least 64 and at most 2048, got 1000",
    ),
    (
        {"batch_size": 10**100},
        422,
        "batch_size",
        "batch_size x n_iter must be at most 8, got 1000",
    ),
]


def test_what_cannot_be_done_is_refused_by_name(client: TestClient, backend: ColourBackend) -> None:
    for fields, status, field, sentence in REFUSED:
        found = refusal(client, **fields)
        assert found[:2] == (status, field)
        assert found[2].startswith(sentence)
    assert backend.requests == []


def test_failures_have_its_shape(client: TestClient, backend: ColourBackend) -> None:
    backend.failure = Failed(ErrorCode.BUSY, "the queue is full", retry_after=7)
    busy = client.post("/sdapi/v1/txt2img", json={"prompt": "x", "n_iter": 2})
    assert (busy.status_code, busy.headers["retry-after"]) == (429, "7")
    assert error_of(busy) == ("", "the queue is full")

    backend.failure = ValueError("a secret")
    broken = client.post("/sdapi/v1/txt2img", json={"prompt": "x"})
    assert (broken.status_code, error_of(broken)[1]) == (500, "internal error")
    for method, path, status in (
        ("GET", "/sdapi/v1/txt2img", 405),
        ("POST", "/sdapi/v1/controlnet", 404),
    ):
        refused = client.request(method, path)
        assert refused.status_code == status
        assert error_of(refused)[1].startswith(f"{method} {path}: ")
    for path, given in product(("txt2img", "img2img", "options"), ("text/plain", "")):
        headers = {"Content-Type": given} if given else {}
        plain = client.post(f"/sdapi/v1/{path}", content=b"{}", headers=headers)
        assert (plain.status_code, error_of(plain)[0]) == (415, "Content-Type")
    long = client.post("/sdapi/v1/img2img", content=bytes(1024 * 1024 + 1))
    assert (long.status_code, error_of(long)[0]) == (413, "")
    for content in (b"[]", b"{", b'"\xff"', b"{}x"):
        headers = {"Content-Type": "application/json; charset=utf-8"}
        assert client.post("/sdapi/v1/txt2img", content=content, headers=headers).status_code == 400


def test_what_others_refuse_has_its_shape_too(client: TestClient, drain: Drain) -> None:
    foreign = {"Origin": "https://evil.example"}
    cross_site = client.post("/sdapi/v1/txt2img", json={"prompt": "x"}, headers=foreign)
    assert (cross_site.status_code, error_of(cross_site)[0]) == (403, "Origin")
    drain.start()
    closing = client.post("/sdapi/v1/interrupt")
    assert (closing.status_code, error_of(closing)[1]) == (503, "the service is shutting down")
    assert int(closing.headers["retry-after"]) >= 1


def test_it_is_documented(client: TestClient) -> None:
    document = client.get("/docs.json").json()
    schemas = document["components"]["schemas"]

    assert "/sdapi/v1/txt2img" in document["paths"]
    for name in ("WebUITxt2Img", "WebUIImg2Img", "WebUIOptions", "PNGInfoRequest"):
        assert schemas[name]["example"]
        for field, value in schemas[name]["properties"].items():
            assert value["description"], f"{name}.{field}"
    steps = schemas["WebUITxt2Img"]["properties"]["steps"]["anyOf"][0]
    assert steps == {"type": "integer", "minimum": 1, "maximum": 150}
    assert json.dumps(document)


def test_random_seeds_are_as_short_as_its_own(client: TestClient, backend: ColourBackend) -> None:
    for seed in (None, -1):
        make(client, seed=seed, batch_size=2)
    make(client, seed=2**53 - 1)

    *drawn, given = (one.seed for one in backend.requests)
    assert max(drawn) + 1 < 2**32
    assert drawn[0] != drawn[1]
    assert given == 2**53 - 1
