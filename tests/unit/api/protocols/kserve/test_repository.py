"""Version 2's model repository, and the readiness of each model."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.testclient import TestClient

from contract.model_state import Availability, ModelState
from settings import Settings
from tests.abuse.hostile_json import BODIES
from tests.unit.api.conftest import ColourBackend, make_lora
from tests.unit.api.protocols.kserve.conftest import error_of

LOAD, UNLOAD = "/v2/repository/models/tiny/load", "/v2/repository/models/tiny/unload"
READY = ("/v2/models/tiny/ready", "/v1/models/tiny")


@pytest.fixture
def settings() -> Settings:
    return Settings(model_control=True)


def index(client: TestClient, **body: Any) -> list[tuple[str, str, str]]:
    listed = client.post("/v2/repository/index", json=body).json()
    return [(one["name"], one["state"], one["reason"]) for one in listed]


@pytest.mark.parametrize("availability", [each for each in Availability if each != "READY"])
def test_readiness_is_that_of_each_model(
    client: TestClient, backend: ColourBackend, availability: Availability
) -> None:
    backend.loras = [make_lora("clay")]
    backend.changed["tiny"] = ModelState(availability, "it moves")

    for path in (*READY, "/v2/models/clay/ready", "/v2/models/tiny/versions/1/ready"):
        response = client.get(path)
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")
        assert error_of(response)["error"].endswith("is not ready: it moves")
    assert index(client) == [
        ("tiny", availability, "it moves"),
        ("clay", availability, "it moves"),
        ("classifier", "READY", ""),
    ]
    assert index(client, ready=True) == [("classifier", "READY", "")]
    listed = client.get("/v1/models").json()["data"]
    assert [model["ready"] for model in listed] == [False, False, True]
    # Of the service, and of a model that nothing is wrong with.
    for path in ("/v2/health/ready", "/v2/models/classifier/ready"):
        assert client.get(path).status_code == 200


def test_a_model_that_is_not_in_memory_is_ready(client: TestClient, backend: ColourBackend) -> None:
    backend.changed["tiny"] = ModelState(Availability.READY, "a request loads it")

    assert [client.get(path).status_code for path in READY] == [200, 200]
    assert index(client)[0] == ("tiny", "READY", "a request loads it")


def test_unload_and_load(client: TestClient) -> None:
    unloaded = client.post(UNLOAD, json={"parameters": {"unload_dependents": False}})
    assert unloaded.json() == {"name": "tiny", "unload": True}
    for path in READY:
        response = client.get(path)
        assert response.status_code == 404
        assert error_of(response)["error"] == "tiny is unloaded"

    assert client.post(LOAD).json() == {"name": "tiny", "load": True}
    assert [client.get(path).status_code for path in READY] == [200, 200]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("nobody/load", {}, 404, 'there is no model "nobody"'),
        ("classifier/unload", {}, 400, "classifier is small, and stays in memory"),
        ("clay/load", {}, 400, "clay is a LoRA, which comes and goes with the requests"),
        ("tiny/load", {"parameters": {"config": "{}"}}, 422, "parameters"),
        ("tiny/load", {"files": []}, 400, '"files" is not a field'),
        ("tiny/unload", {"parameters": {"unload_dependents": 1}}, 400, "parameters"),
        ("tiny/unload", [], 400, ""),
    ],
)
def test_mistakes(
    client: TestClient, backend: ColourBackend, path: str, body: Any, status: int, message: str
) -> None:
    backend.loras = [make_lora("clay")]
    response = client.post(f"/v2/repository/models/{path}", json=body)

    assert response.status_code == status, response.text
    assert error_of(response)["error"].startswith(message)


def test_bodies_of_any_kind(client: TestClient) -> None:
    for path in ("/v2/repository/index", LOAD, UNLOAD):
        for name, body in BODIES.items():
            status = client.post(path, content=body).status_code
            assert status in {200, 400, 413, 422}, (path, name)


def test_other_sites_and_forms_change_nothing(client: TestClient, backend: ColourBackend) -> None:
    for path in (LOAD, UNLOAD):
        foreign = client.post(path, headers={"Origin": "https://evil.example"})
        assert foreign.status_code == 403
        assert client.post(path, data={"a": "b"}).status_code == 415
    assert not backend.changed


def test_who_waits_too_long_for_a_load_is_told(
    client: TestClient, backend: ColourBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.protocols.kserve.repository.remaining", lambda _: 0.01)
    backend.hold = asyncio.Event()
    response = client.post(LOAD)

    assert response.status_code == 504
    assert "was not loaded within 300 seconds" in error_of(response)["error"]


class TestWithoutControl:
    """By default."""

    @pytest.fixture
    def settings(self) -> Settings:
        return Settings()

    def test_clients_change_nothing(self, client: TestClient, backend: ColourBackend) -> None:
        for path in (LOAD, UNLOAD):
            response = client.post(path)
            assert response.status_code == 403
            assert "SD_MODEL_CONTROL" in error_of(response)["error"]
        assert not backend.changed
        assert index(client)[0] == ("tiny", "READY", "")
