"""Every endpoint on the BentoML host, where a runner process has the engine."""

from __future__ import annotations

import base64
import json
import math
from io import BytesIO
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from tests import uploads
from tests.effort import only_in_full
from tests.integration.clients import SHORT, post
from tests.integration.server import Server, serving
from tests.integration.test_fine_tuned import BODY, draw
from tests.loras import save_lora

PICTURE = uploads.encode(uploads.red_and_blue())
DATA = (None, json.dumps({"prompt": "a red apple", "num_inference_steps": 2, "strength": 1.0}))


@pytest.mark.parametrize(
    ("method", "path", "arguments"),
    [
        ("POST", "/txt2img", {"json": {"prompt": "a red apple", "num_inference_steps": 2}}),
        ("POST", "/img2img", {"files": {"img": PICTURE, "data": DATA}}),
        ("POST", "/inpaint", {"files": {"img": PICTURE, "mask": PICTURE, "data": DATA}}),
        ("GET", "/dreambooth", {"params": {"prompt": "a red apple"}}),
        ("POST", "/dreambooth", {"params": {"prompt": "a red apple"}}),
    ],
)
def test_pictures(
    bentoml_server: Server, method: str, path: str, arguments: dict[str, Any]
) -> None:
    response = bentoml_server.client.request(method, path, **arguments)

    assert response.status_code == 200, response.text
    assert PIL.Image.open(BytesIO(response.content)).format == "PNG"
    counted = bentoml_server.metric("bentoml_api_server_request_total", endpoint=path)
    assert counted > 0


def test_a_stream(bentoml_server: Server) -> None:
    body = {"prompt": "a red apple", "num_inference_steps": 20, "previews": True}
    headers = {"Accept": "text/event-stream"}
    text = bentoml_server.client.post("/txt2img", json=body, headers=headers).text

    names = [line for line in text.splitlines() if line.startswith("event: ")]
    assert (names[0], names[-1]) == ("event: queued", "event: image")
    assert "event: progress" in names


def test_the_words_of_openai(bentoml_server: Server) -> None:
    """An endpoint that takes two kinds of bodies, and a stream."""
    fields = {"prompt": "a red apple", "num_inference_steps": 2, "strength": 1.0, "seed": 3}
    url = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
    ask = bentoml_server.client.post
    of_json = ask("/v1/images/edits", json={**fields, "images": [{"image_url": url}]})
    form: dict[str, Any] = {name: (None, str(value)) for name, value in fields.items()}
    form["image"] = PICTURE
    of_form = ask("/v1/images/edits", files=form)
    assert of_json.status_code == of_form.status_code == 200, of_json.text + of_form.text
    assert of_json.json()["data"] == of_form.json()["data"]

    body = {"prompt": "a red apple", "num_inference_steps": 2, "stream": True}
    text = ask("/v1/images/generations", json=body).text
    names = [line for line in text.splitlines() if line.startswith("event: ")]
    assert names == ["event: image_generation.completed"]


def test_a_label(bentoml_server: Server) -> None:
    response = bentoml_server.client.post("/classify", files={"img": PICTURE})
    assert response.status_code == 200, response.text
    assert response.json()["predictions"]


def test_a_template(bentoml_server: Server) -> None:
    body = {"prompt": "a __colour__ apple", "expand_prompt": True, "num_inference_steps": 1}
    headers = {"Accept": "application/json"}
    (image,) = bentoml_server.client.post("/txt2img", json=body, headers=headers).json()["images"]
    assert image["prompt"] in {f"a {colour} apple" for colour in ("red", "yellow", "blue")}


def test_a_lora_comes_and_goes_in_every_process(bentoml_server: Server, tmp_path: Path) -> None:
    base = draw(bentoml_server)
    for seed in (0, 1):
        # Trained again it is another version, which the runner has to find as well.
        file = next(save_lora(tmp_path / str(seed), seed=seed).iterdir())
        bentoml_server.models("register", "clay", "--lora", str(file), "--base", "embedded")
        own = draw(bentoml_server, model="clay")
        assert own.headers["x-model"] == "clay"
        assert own.content != base.content
        base = own
    bentoml_server.models("remove", "clay")

    response = bentoml_server.client.post("/txt2img", json={**BODY, "model": "clay"})
    assert response.status_code == 404


def metrics_folder(server: Server) -> Path:
    (folder,) = {
        Path(process.environ()["PROMETHEUS_MULTIPROC_DIR"]) for process in server.processes()[1:]
    }
    return folder


def check_largest_picture(server: Server) -> None:
    """It was measured in another process than the one that knows it now."""
    (model, *_) = server.client.get("/models").json()["models"]
    most = model["max_pixels"]
    assert 64 * 64 * 1.25 <= most < 2_400_000
    side = math.isqrt(most) // 8 * 8
    assert post(server, {**SHORT, "width": side, "height": side}).status_code == 200
    response = post(server, {**SHORT, "width": side + 8, "height": side + 8})
    assert response.status_code == 422
    assert f"at most {most} pixels" in response.json()["error"]["message"]


@only_in_full
def test_two_services_of_one_home_have_metrics_of_their_own(
    bentoml_server: Server, tmp_path: Path
) -> None:
    assert post(bentoml_server, SHORT).status_code == 200
    drawn = bentoml_server.metric("sd_jobs_total", outcome="ok")
    settings = {"SD_MAX_PIXELS": "", "SD_CLASSIFIER": "none"}
    with serving(tmp_path, home=bentoml_server.home, **settings) as second:
        before = second.metric("sd_jobs_total", outcome="ok")
        for _ in range(2):
            assert post(second, SHORT).status_code == 200
        assert bentoml_server.metric("sd_jobs_total", outcome="ok") == drawn
        assert second.metric("sd_jobs_total", outcome="ok") == before + 2
        folders = [metrics_folder(server) for server in (bentoml_server, second)]
        assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700] * 2
        check_largest_picture(second)
    assert [folder.parent.exists() for folder in folders] == [True, False]
