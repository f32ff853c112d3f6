"""LoRAs that were registered a moment ago: found by the request that names them."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.unit.api.conftest import ColourBackend, make_lora


@pytest.mark.parametrize(
    ("fields", "model", "loras"),
    [
        ({"model": "clay"}, "clay", None),
        ({"loras": [{"name": "clay"}]}, "tiny", "clay:1"),
        ({"model": "auto"}, "clay", None),
    ],
)
def test_a_request_finds_it(
    client: TestClient, backend: ColourBackend, fields: dict[str, Any], model: str, loras: str
) -> None:
    backend.arriving = (make_lora("clay", subject_token="unqtkn"),)
    response = client.post("/txt2img", json={"prompt": "an unqtkn", **fields})

    assert response.status_code == 200, response.text
    assert response.headers["x-model"] == model
    assert response.headers.get("x-loras") == loras


def test_dreambooth_finds_it(client: TestClient, backend: ColourBackend) -> None:
    backend.arriving = (make_lora("clay", subject_token="unqtkn"),)
    response = client.get("/dreambooth", params={"prompt": "an unqtkn"})
    assert response.headers["x-model"] == "clay"


def test_the_list_has_it(client: TestClient, backend: ColourBackend) -> None:
    backend.arriving = (make_lora("clay"),)
    names = [model["name"] for model in client.get("/models").json()["models"]]
    assert names == ["tiny", "clay"]


@pytest.mark.parametrize("fields", [{}, {"model": "tiny"}])
def test_a_request_that_names_none_does_not_wait_for_a_look(
    client: TestClient, backend: ColourBackend, fields: dict[str, Any]
) -> None:
    assert client.post("/txt2img", json={"prompt": "x", **fields}).status_code == 200
    assert backend.refreshes == 0
