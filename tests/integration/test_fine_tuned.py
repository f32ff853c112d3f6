"""A LoRA that is registered while the server runs: it is served, and gone when it is removed."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from models.lora import LORA_FILE
from tests.integration.server import Server
from tests.loras import save_lora

TOKEN = "unqtkn"
BODY = {"prompt": f"a {TOKEN} on a blue background", "seed": 5, "num_inference_steps": 6}


@pytest.fixture(scope="module")
def clay(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A LoRA's file, registered as ``clay``."""
    file = save_lora(tmp_path_factory.mktemp("clay")) / LORA_FILE
    options = ("--lora", str(file), "--base", "embedded", "--token", TOKEN, "--licence", "mine")
    server.models("register", "clay", *options)
    yield file
    server.models("remove", "clay")


def draw(server: Server, **fields: Any) -> httpx.Response:
    response = server.client.post("/txt2img", json={**BODY, **fields})
    assert response.status_code == 200, response.text
    return response


def pixels(response: httpx.Response) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(BytesIO(response.content)).convert("RGB"), dtype=np.int16)


def test_it_is_listed(server: Server, clay: Path) -> None:
    models = {model["name"]: model for model in server.client.get("/models").json()["models"]}

    assert models.keys() == {"embedded", "clay"}
    assert models["clay"]["kind"] == "lora"
    tuning = models["clay"]["fine_tuning"]
    assert (tuning["base"], tuning["subject_token"]) == ("embedded", TOKEN)
    assert tuning["size"] == clay.stat().st_size


def test_it_is_a_model_that_draws_something_else(server: Server, clay: Path) -> None:
    base, own = draw(server), draw(server, model="clay")

    assert (base.headers["x-model"], own.headers["x-model"]) == ("embedded", "clay")
    assert np.abs(pixels(own) - pixels(base)).max() > 8
    assert draw(server, model="clay").content == own.content
    assert draw(server).content == base.content


def test_it_can_be_added_to_its_base(server: Server, clay: Path) -> None:
    added = draw(server, loras=[{"name": "clay"}])
    assert (added.headers["x-model"], added.headers["x-loras"]) == ("embedded", "clay:1")
    assert (pixels(added) == pixels(draw(server, model="clay"))).all()

    weak = draw(server, loras=[{"name": "clay", "scale": 0.3}])
    assert weak.headers["x-loras"] == "clay:0.3"
    assert (pixels(weak) != pixels(added)).any()
    none = draw(server, loras=[{"name": "clay", "scale": 0}])
    assert np.abs(pixels(none) - pixels(draw(server))).max() <= 1


def test_its_token_chooses_it(server: Server, clay: Path) -> None:
    own = draw(server, model="auto")
    assert own.headers["x-model"] == "clay"
    assert own.content == draw(server, model="clay").content
    assert draw(server, model="auto", prompt="a red apple").headers["x-model"] == "embedded"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_dreambooth(server: Server, clay: Path, method: str) -> None:
    query = {"prompt": str(BODY["prompt"]), "img_size": "72"}
    answer = server.client.request(method, "/dreambooth", params=query)

    assert answer.status_code == 200
    assert (answer.headers["content-type"], answer.headers["x-model"]) == ("image/png", "clay")
    again = {"seed": int(answer.headers["x-seed"]), "width": 72, "height": 72, "model": "clay"}
    again["num_inference_steps"] = None
    assert draw(server, **again).content == answer.content

    answer = server.client.request(method, "/dreambooth", params={"prompt": "a red apple"})
    assert answer.headers["x-model"] == "embedded"
    assert server.client.request(method, "/dreambooth").status_code == 400


def test_streams_and_json_name_it(server: Server, clay: Path) -> None:
    body = {**BODY, "model": "auto"}
    stream = server.client.post("/txt2img", json=body, headers={"Accept": "text/event-stream"})
    assert stream.headers["x-model"] == "clay"
    assert "event: image" in stream.text

    loras = [{"name": "clay", "scale": -1}]
    answer = draw(server, loras=loras, num_images=2).json()
    assert (answer["model"], answer["loras"]) == ("embedded", loras)
    assert len(answer["images"]) == 2


def test_it_is_gone_when_it_is_removed(server: Server, clay: Path) -> None:
    options = ("--lora", str(clay), "--base", "embedded", "--token", "other")
    server.models("register", "brief", *options)
    assert draw(server, model="brief").headers["x-model"] == "brief"
    assert draw(server, model="auto", prompt="an other").headers["x-model"] == "brief"
    server.models("remove", "brief")

    response = server.client.post("/txt2img", json={**BODY, "model": "brief"})
    assert (response.status_code, response.json()["error"]["field"]) == (404, "model")
    assert response.json()["error"]["message"] == (
        'model must be auto or one of embedded, clay, got "brief"'
    )
    body = {**BODY, "loras": [{"name": "brief"}]}
    response = server.client.post("/txt2img", json=body)
    assert (response.status_code, response.json()["error"]["field"]) == (404, "loras.0.name")
    assert draw(server, model="auto", prompt="an other").headers["x-model"] == "embedded"
    names = [model["name"] for model in server.client.get("/models").json()["models"]]
    assert names == ["embedded", "clay"]
