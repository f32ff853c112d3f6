"""Version 1: instances in, predictions out."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from typing import Any

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from api.drain import Drain
from api.protocols.base import Protocols
from contract.errors import ErrorCode
from contract.events import Failed
from settings import Settings
from tests import uploads
from tests.unit.api.conftest import ColourBackend, handler_of
from tests.unit.api.protocols.kserve.conftest import error_of

URL = "/v1/models/tiny:predict"
PICTURE = base64.b64encode(uploads.encode(uploads.red_and_blue())).decode()


def predict(client: TestClient, *instances: Any, model: str = "tiny") -> Any:
    return client.post(f"/v1/models/{model}:predict", json={"instances": list(instances)})


def test_a_prediction_for_each_instance(client: TestClient, backend: ColourBackend) -> None:
    response = predict(
        client,
        {"prompt": "a pear", "seed": 7, "num_images": 2, "width": 64, "height": 72},
        {"prompt": "an apple", "seed": None, "init_image": {"b64": PICTURE}},
        {"prompt": "a plum", "init_image": PICTURE, "mask": PICTURE, "strength": 0.5},
    )

    assert response.status_code == 200
    first, second, third = response.json()["predictions"]
    assert [image["seed"] for image in first["images"]] == [7, 8]
    assert first["model"] == "tiny"
    for prediction in (first, second, third):
        assert prediction["request_id"] == response.headers["x-request-id"]
        for image in prediction["images"]:
            assert base64.b64decode(image["data"]).startswith(b"\x89PNG")
    requests = {request.prompt: request for request in backend.requests}
    assert requests["a pear"].init_image is None
    assert requests["an apple"].strength == 0.6
    assert requests["a plum"].mask is not None


def test_the_classifier_is_a_model(client: TestClient) -> None:
    response = predict(
        client, {"image": PICTURE, "top_k": 1}, {"image": PICTURE}, model="classifier"
    )

    one, all_of_them = response.json()["predictions"]
    assert len(one["predictions"]) == 1
    assert len(all_of_them["predictions"]) == 3
    assert one["model"] == "classifier"


@pytest.mark.parametrize(
    ("body", "status", "field", "message"),
    [
        ({}, 400, "instances", "instances is required"),
        ({"instances": []}, 400, "instances", "instances"),
        ({"instances": ["x"]}, 400, "instances.0", "instances.0"),
        ({"instances": [{}]}, 400, "instances.0.prompt", "instances.0: prompt is required"),
        (
            {"instances": [{"prompt": "x"}, {"prompt": "x", "width": 65}]},
            422,
            "instances.1.width",
            "instances.1: width must be a multiple of 8, got 65",
        ),
        (
            {"instances": [{"prompt": "x", "init_image": 5}]},
            400,
            "instances.0.init_image",
            "instances.0: init_image must be a file in base64",
        ),
        (
            {"instances": [{"prompt": "x", "init_image": {"b64": "!"}}]},
            400,
            "instances.0.init_image",
            "instances.0: init_image must be valid base64",
        ),
        (
            {"instances": [{"prompt": "x", "init_image": "é"}]},
            400,
            "instances.0.init_image",
            "instances.0: init_image must be valid base64",
        ),
        (
            {"instances": [{"prompt": "x", "init_image": "QUJD"}]},
            415,
            "instances.0.init_image",
            "instances.0: init_image must be",
        ),
        (
            {"instances": [{"prompt": "x", "num_images": 5}] * 2},
            422,
            "instances",
            "the instances of a request must ask for at most 8 pictures together, got 10",
        ),
        (
            {"instances": [{"prompt": "x", "init_image": "!"}] * 9},
            422,
            "instances",
            "the instances of a request must ask for at most 8 pictures together, got 9",
        ),
        (
            {"instances": [{"prompt": "x", "model": "y"}]},
            400,
            "instances.0.model",
            'instances.0: "model" is not one of the inputs of txt2img',
        ),
    ],
)
def test_mistakes(client: TestClient, body: Any, status: int, field: str, message: str) -> None:
    response = client.post(URL, json=body)

    assert response.status_code == status
    assert error_of(response)["field"] == field
    assert error_of(response)["error"].startswith(message)


def test_one_failure_cancels_the_others(client: TestClient, backend: ColourBackend) -> None:
    backend.failure = Failed(ErrorCode.NOT_READY, "lost", retry_after=20)
    response = predict(client, {"prompt": "x"}, {"prompt": "y"})

    assert (response.status_code, response.headers["retry-after"]) == (503, "20")
    assert error_of(response)["error"] == "lost"


def test_a_client_that_leaves_cancels_all_jobs(
    protocols: Protocols, backend: ColourBackend
) -> None:
    body = json.dumps({"instances": [{"prompt": "x"}] * 3}).encode()
    scope = {
        "type": "http",
        "method": "POST",
        "path": URL,
        "path_params": {"model": "tiny"},
        "headers": [],
        "query_string": b"",
    }

    async def leave() -> int:
        backend.hold = asyncio.Event()
        messages = [{"type": "http.request", "body": body}, {"type": "http.disconnect"}]

        async def receive() -> Any:
            while len(messages) == 1 and len(backend.requests) < 3:
                await asyncio.sleep(0)
            return messages.pop(0)

        return (await handler_of(protocols, "v1_predict")(Request(scope, receive))).status_code

    assert asyncio.run(leave()) == 499
    assert backend.cancelled == 3


@pytest.mark.parametrize("path", [URL, "/v2/models/tiny/infer", "/v1/models/tiny", "/v2/x"])
def test_a_drain_refuses_in_its_words(client: TestClient, drain: Drain, path: str) -> None:
    drain.start()
    response = client.post(path, json={"instances": []})

    assert response.status_code == 503
    assert "retry-after" in response.headers
    assert error_of(response)["error"] == "the service is shutting down"
    assert client.get("/v2/health/live").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_pages_of_other_sites_start_no_work(
    client: TestClient, backend: ColourBackend, headers: dict[str, str]
) -> None:
    for path, body in ((URL, {"instances": [{"prompt": "x"}]}), ("/v2/models/tiny/infer", {})):
        response = client.post(path, content=json.dumps(body), headers=headers)
        assert response.status_code == 403
        assert "other sites" in error_of(response)["error"]
    assert not backend.requests


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
NAMES = {"model": "tiny", "model:name": "tiny", "version": "1"}


@pytest.mark.parametrize("method", METHODS)
def test_other_methods(client: TestClient, protocols: Protocols, method: str) -> None:
    """Every path says what it takes, whatever else is asked of it."""
    allowed: dict[str, set[str]] = {}
    for endpoint in protocols.endpoints:
        if endpoint.path.startswith(("/v1/", "/v2")):
            path = re.sub("{(.*?)}", lambda found: NAMES[found[1]], endpoint.path)
            allowed.setdefault(path, set()).update(endpoint.methods)
    assert allowed[URL] == {"POST"}
    for path, methods in allowed.items():
        if method not in methods:
            response = client.request(method, path)
            assert (response.status_code, response.headers["allow"]) == (405, *methods), path
            if method != "HEAD":
                assert error_of(response)["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    "path", ["/v2/models/tiny/stats", "/v1/models/tiny:explain", "/v1/models/"]
)
def test_other_paths(client: TestClient, path: str) -> None:
    for method in ("GET", "POST"):
        response = client.request(method, path)
        assert response.status_code == 404
        error_of(response)


def test_pictures_are_bounded_in_number_of_elements(client: TestClient, settings: Settings) -> None:
    hostile = b'{"instances": [{"prompt": "x", "loras": [' + b"{}," * 100_000 + b"{}]}]}"
    response = client.post(URL, content=hostile)

    assert response.status_code == 413
    assert "commas, colons and brackets" in error_of(response)["error"]
