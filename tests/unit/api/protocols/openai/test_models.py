"""The models, for OpenAI's clients and for KServe's."""

from __future__ import annotations

from starlette.testclient import TestClient

from tests.unit.api.conftest import ColourBackend, make_lora
from tests.unit.api.protocols.openai.conftest import error_of


def test_one_list_for_both(client: TestClient, backend: ColourBackend) -> None:
    backend.loras = [make_lora("clay", created="2026-01-01T00:00:00Z")]
    listed = client.get("/v1/models").json()

    # Another name of a model that is not served is not there.
    names = ["tiny", "clay", "classifier", "gpt-image-1"]
    assert listed["models"] == names
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == names
    assert listed["data"][1] == {
        "id": "clay",
        "object": "model",
        "created": 1767225600,
        "owned_by": "stable-diffusion-service",
        "name": "clay",
        "ready": True,
    }
    for model in listed["data"]:
        assert client.get(f"/v1/models/{model['id']}").json() == model


def test_models_that_are_not_there(client: TestClient, backend: ColourBackend) -> None:
    response = client.get("/v1/models/dall-e-3")
    assert response.status_code == 404
    assert error_of(response)["code"] == "model_not_found"

    backend.loaded = False
    response = client.get("/v1/models/tiny")
    assert (response.status_code, error_of(response)["code"]) == (503, "not_ready")
    assert client.get("/v1/models").json()["data"][0]["ready"] is False


def test_further_names_hold_in_every_protocol(client: TestClient, backend: ColourBackend) -> None:
    named = {"prompt": "x", "model": "gpt-image-1"}
    response = client.post("/txt2img", json=named)
    assert (response.status_code, response.headers["x-model"]) == (200, "tiny")
    # A look at the model store is not needed for that.
    assert backend.refreshes == 0
    body = {"instances": [{"prompt": "x"}]}
    assert client.post("/v1/models/gpt-image-1:predict", json=body).status_code == 200
    assert client.get("/v2/models/gpt-image-1/ready").status_code == 200
    assert client.post("/txt2img", json={**named, "model": "dall-e-2"}).status_code == 404
