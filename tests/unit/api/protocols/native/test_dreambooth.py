"""Requests whose parameters are in the URL, and answers that name a fine-tuned model."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import PIL.Image
import pytest
from starlette.testclient import TestClient

from api.app import create_app
from contract.request import LoraUse
from settings import Settings
from tests.unit.api.conftest import ColourBackend, make_lora, native_protocols


@pytest.fixture(autouse=True)
def _loras(backend: ColourBackend) -> None:
    backend.loras = (make_lora("clay", subject_token="unqtkn"), make_lora("wool"))


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_prompt_chooses_the_model(
    client: TestClient, backend: ColourBackend, method: str
) -> None:
    for prompt, model, loras in (
        ("a unqtkn on grass", "clay", (LoraUse("clay:v1", 1.0),)),
        ("an apple", "tiny", ()),
    ):
        response = client.request(method, "/dreambooth", params={"prompt": prompt, "img_size": 72})

        assert response.status_code == 200
        assert response.headers["content-type"] == "image/png"
        assert response.headers["x-model"] == model
        assert response.headers["cache-control"] == "no-store"
        assert "x-loras" not in response.headers
        assert PIL.Image.open(BytesIO(response.content)).size == (72, 72)
        request = backend.requests[-1]
        assert (request.model, request.served_as, request.loras) == ("tiny", model, loras)
        assert request.prompt == prompt


def test_the_size_is_the_models_own(client: TestClient, backend: ColourBackend) -> None:
    for path in ("/dreambooth", "/imagine"):
        assert client.get(path, params={"prompt": "x"}).status_code == 200
    assert (backend.requests[0].width, backend.requests[0].height) == (128, 128)


@pytest.mark.parametrize(
    ("query", "status", "field", "message"),
    [
        ("", 400, "prompt", "prompt is required"),
        ("img_size=64", 400, "prompt", "prompt is required"),
        ("prompt=x&img_size=big", 400, "img_size", 'img_size must be an integer, not "big"'),
        ("prompt=x&img_size=", 400, "img_size", 'img_size must be an integer, not ""'),
        ("prompt=x&img_size=1e9", 400, "img_size", 'img_size must be an integer, not "1e9"'),
        ("prompt=x&img_size=" + "9" * 5000, 400, "img_size", "img_size"),
        ("prompt=x&img_size=56", 422, "img_size", "img_size must be at least 64 and at most 2048"),
        ("prompt=x&img_size=-64", 422, "img_size", "img_size must be at least 64"),
        ("prompt=x&img_size=68", 422, "img_size", "img_size must be a multiple of 8, got 68"),
        (
            "prompt=x&img_size=2048",
            422,
            "img_size",
            "img_size x img_size must be at most 2400000 pixels, got 2048 x 2048",
        ),
        ("prompt=" + "x" * 2001, 422, "prompt", "prompt must be at most 2000 characters long"),
        (
            "prompt=x&steps=4",
            400,
            "steps",
            '"steps" is not a field; the fields are prompt, img_size',
        ),
        ("prompt=x&prompt=y", 400, "prompt", '"prompt" may be given once only'),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_bad_parameters(
    client: TestClient, method: str, query: str, status: int, field: str, message: str
) -> None:
    response = client.request(method, f"/dreambooth?{query}")

    assert response.status_code == status
    error = response.json()["error"]
    assert error["field"] == field
    assert error["message"].startswith(message)
    assert len(error["message"]) < 200


def test_there_is_no_body(client: TestClient) -> None:
    response = client.post("/dreambooth?prompt=x", json={"prompt": "y"})

    assert response.status_code == 400
    assert "there must be no body" in response.json()["error"]["message"]


def test_it_is_documented(client: TestClient) -> None:
    path = client.get("/docs.json").json()["paths"]["/dreambooth"]

    for method in ("get", "post"):
        prompt, size = path[method]["parameters"]
        assert (prompt["name"], prompt["in"], prompt["required"]) == ("prompt", "query", True)
        assert (size["name"], size["required"]) == ("img_size", False)
        assert size["schema"]["multipleOf"] == 8
        assert size["schema"]["maximum"] == 2048
        assert "image/png" in path[method]["responses"]["200"]["content"]


def test_answers_name_what_was_used(client: TestClient) -> None:
    body: dict[str, Any] = {
        "prompt": "x",
        "seed": 3,
        "model": "clay",
        "loras": [{"name": "wool", "scale": 0.5}],
    }
    exact = {"prompt": "x", "loras": [{"name": "wool", "scale": 0.123456789}, {"name": "clay"}]}
    response = client.post("/txt2img", json=exact)
    assert response.headers["x-loras"] == "wool:0.123456789, clay:1"

    response = client.post("/txt2img", json=body)
    assert response.headers["x-model"] == "clay"
    assert response.headers["x-loras"] == "wool:0.5"
    assert 'filename="clay-3.png"' in response.headers["content-disposition"]
    text = PIL.Image.open(BytesIO(response.content)).info["parameters"]
    assert "Model: clay" in text
    assert 'LoRAs: "wool:0.5"' in text

    answer = client.post("/txt2img", json={**body, "num_images": 2}).json()
    assert (answer["model"], answer["loras"]) == ("clay", [{"name": "wool", "scale": 0.5}])

    stream = client.post("/txt2img", json=body, headers={"Accept": "text/event-stream"})
    assert (stream.headers["x-model"], stream.headers["x-loras"]) == ("clay", "wool:0.5")

    answer = client.post("/txt2img", json={"prompt": "x", "num_images": 2}).json()
    assert (answer["model"], answer["loras"]) == ("tiny", [])


@pytest.mark.parametrize(
    ("loras", "status", "field", "message"),
    [
        ([{"name": "clay", "scale": 2.1}], 422, "loras.0.scale", "at least -2 and at most 2"),
        ([{"name": "wool"}, {"name": "clay", "scale": -3}], 422, "loras.1.scale", "got -3"),
        ([{"name": "wool"}] * 5, 422, "loras", "loras must be at most 4 elements long, got 5"),
        ([{"name": "felt"}], 404, "loras.0.name", "which are clay, wool"),
        ([{"name": "../../etc/passwd"}], 404, "loras.0.name", "must be a LoRA of tiny"),
        ([{"name": "https://example.org/x.safetensors"}], 404, "loras.0.name", "a LoRA of tiny"),
        ([{"scale": 1}], 400, "loras.0.name", "loras.0.name is required"),
        ([{"name": 1}], 400, "loras.0.name", "loras.0.name must be a string, not 1"),
        ([{"name": "clay", "scale": "1"}], 400, "loras.0.scale", "must be a number"),
        ([{"name": "clay", "path": "x"}], 400, "loras.0.path", "the fields are name, scale"),
        (["clay"], 400, "loras.0", "loras.0 must be a JSON object"),
        ("clay", 400, "loras", 'loras must be an array, not "clay"'),
        ({"name": "clay"}, 400, "loras", "loras must be an array"),
    ],
)
def test_bad_loras(client: TestClient, loras: Any, status: int, field: str, message: str) -> None:
    response = client.post("/txt2img", json={"prompt": "x", "loras": loras})

    assert response.status_code == status
    error = response.json()["error"]
    assert error["field"] == field
    assert message in error["message"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"model": "clay"}, "model"),
        ({"model": "clay", "loras": [{"name": "wool"}]}, "model"),
        ({"loras": [{"name": "wool"}]}, "loras"),
        ({"model": "auto", "loras": [{"name": "wool"}]}, "loras"),
    ],
)
def test_compiled_models_refuse_loras(
    backend: ColourBackend, fields: dict[str, Any], field: str
) -> None:
    compiled = Settings(compile="openvino")
    with TestClient(create_app(native_protocols(backend, compiled))) as client:
        response = client.post("/txt2img", json={"prompt": "a unqtkn", **fields})
        assert response.status_code == 422
        error = response.json()["error"]
        assert (error["code"], error["field"]) == ("out_of_range", field)
        assert "as the models are compiled (SD_COMPILE=openvino)" in error["message"]
        assert [one["name"] for one in client.get("/models").json()["models"]] == ["tiny"]
        # The token is a word like any other.
        for path in ("/dreambooth?prompt=a%20unqtkn", "/dreambooth?prompt=x"):
            assert client.get(path).headers["x-model"] == "tiny"
        assert client.post("/txt2img", json={"prompt": "x", "loras": []}).status_code == 200


def test_scales_of_every_kind(client: TestClient, backend: ColourBackend) -> None:
    for scale in (-2, -0.5, 0, 2, 2.0, None):
        loras = [{"name": "wool", "scale": scale}]
        assert client.post("/txt2img", json={"prompt": "x", "loras": loras}).status_code == 200
    assert [one.loras[0].scale for one in backend.requests] == [-2, -0.5, 0, 2, 2, 1]
    for none in (list[Any](), None):
        assert client.post("/txt2img", json={"prompt": "x", "loras": none}).status_code == 200
        assert backend.requests[-1].loras == ()


def test_fine_tuned_models_are_listed_while_they_are_there(
    client: TestClient, backend: ColourBackend
) -> None:
    base, clay, wool = client.get("/models").json()["models"]

    assert (base["kind"], base["default"], base["fine_tuning"]) == ("base", True, None)
    assert (wool["name"], wool["default"]) == ("wool", False)
    tuning = clay.pop("fine_tuning")
    assert (clay["kind"], clay["licence"], clay["family"]) == ("lora", "mine", base["family"])
    assert (clay["defaults"], clay["tasks"]) == (base["defaults"], base["tasks"])
    created = tuning.pop("created")
    assert created.startswith("20")
    assert tuning == {
        "base": "tiny",
        "base_revision": "1234",
        "subject_token": "unqtkn",
        "class_name": None,
        "steps": None,
        "data_hash": None,
        "size": 2000,
    }
    backend.loras = ()
    assert [model["name"] for model in client.get("/models").json()["models"]] == ["tiny"]
    assert client.post("/txt2img", json={"prompt": "x", "model": "clay"}).status_code == 404
