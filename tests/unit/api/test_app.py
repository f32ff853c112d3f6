from __future__ import annotations

import subprocess
import sys

import pytest
from starlette.testclient import TestClient

from models.architectures import SCHEDULERS
from settings import Settings


def test_models(client: TestClient, settings: Settings) -> None:
    body = client.get("/models").json()

    assert [model["name"] for model in body["models"]] == ["tiny"]
    model = body["models"][0]
    assert model["default"] is True
    assert model["precision"] == "fp32"
    assert model["licence"] == "Apache-2.0"
    assert model["multiple_of"] == 8
    assert model["tasks"] == ["txt2img", "img2img", "inpaint"]
    assert model["defaults"]["num_inference_steps"] == 20
    assert body["limits"]["max_body_bytes"] == settings.max_body_bytes
    assert body["limits"]["max_images"] == settings.max_images
    assert body["schedulers"] == list(SCHEDULERS)
    assert body["output_formats"] == ["png", "jpeg", "webp"]


def test_the_document_names_the_page_for_people(client: TestClient) -> None:
    assert "make ui URL=" in client.get("/docs.json").json()["info"]["description"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("POST", "/nothing/else", 404, "not_found"),
        ("GET", "/txt2img", 405, "method_not_allowed"),
        ("DELETE", "/models", 405, "method_not_allowed"),
    ],
)
def test_unknown_paths_and_methods(
    client: TestClient, method: str, path: str, status: int, code: str
) -> None:
    response = client.request(method, path)

    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert ("allow" in response.headers) is (status == 405)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/dreambooth", "GET, POST"),
        ("POST", "/imagine", "GET"),
        ("PUT", "/models", "GET"),
        ("GET", "/img2img", "POST"),
    ],
)
def test_allow_lists_all_methods(client: TestClient, method: str, path: str, allowed: str) -> None:
    assert client.request(method, path).headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/txt2img/", "/models/", "/docs.json/"])
def test_a_slash_at_the_end_is_another_path(client: TestClient, path: str) -> None:
    response = client.get(path, headers={"Host": "evil.test"}, follow_redirects=False)
    assert response.status_code == 404
    assert "location" not in response.headers


def test_the_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/").text

    assert "./static_content/swagger-ui-bundle.js" in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_api_is_light() -> None:
    """API processes and other hosts must not load torch, diffusers or a serving framework."""
    script = (
        "import sys, api.app; "
        "print([m for m in ('torch', 'diffusers', 'transformers', 'bentoml', 'ray') "
        "if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
