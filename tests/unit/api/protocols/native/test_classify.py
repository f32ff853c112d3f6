"""A picture in, labels out; the network itself is tested with its runner."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import PIL.Image
import pytest
from starlette.testclient import TestClient

from api.app import create_app
from api.classifier import BoundedClassifier
from api.errors import STATUS
from api.pictures import Pictures
from api.protocols.base import Protocols
from api.protocols.native.protocol import NativeProtocol
from contract.errors import ErrorCode, RequestError
from settings import Settings
from tests import uploads
from tests.unit.api.conftest import ColourBackend, ShadeClassifier, native_protocols

WHITE = uploads.encode(PIL.Image.new("RGB", (4, 2), "white"))


def classify(client: TestClient, data: bytes = WHITE, query: str = "") -> httpx2.Response:
    return client.post(f"/classify{query}", files={"img": data})


def test_the_likeliest_labels_come_first(client: TestClient) -> None:
    response = classify(client)
    assert response.status_code == 200
    body = response.json()
    assert [prediction["label"] for prediction in body["predictions"]] == ["bright", "grey", "dark"]
    assert [prediction["score"] for prediction in body["predictions"]] == [0.8, 0.2, 0.0]
    assert body["model"] == "shades"
    assert body["request_id"] == response.headers["x-request-id"]


def test_as_many_labels_come_as_are_asked_for(client: TestClient) -> None:
    for top_k in (1, 2, 3):
        assert len(classify(client, query=f"?top_k={top_k}").json()["predictions"]) == top_k


@pytest.mark.parametrize("name", uploads.ODD)
def test_pictures_of_every_kind_are_classified(client: TestClient, name: str) -> None:
    assert classify(client, uploads.ODD[name][0]).status_code == 200


@pytest.mark.parametrize("name", uploads.BROKEN)
def test_what_is_no_picture_is_refused(client: TestClient, name: str) -> None:
    data, code = uploads.BROKEN[name]
    response = classify(client, data)
    assert response.status_code == STATUS[code]
    assert response.json()["error"]["code"] == code
    assert response.json()["error"]["field"] == "img"


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("?top_k=0", 422, "top_k must be at least 1 and at most 3, got 0"),
        ("?top_k=4", 422, "top_k must be at least 1 and at most 3, got 4"),
        ("?top_k=-1", 422, "top_k must be at least 1 and at most 3, got -1"),
        ("?top_k=many", 400, 'top_k must be an integer, not "many"'),
        ("?top_k=1.5", 400, 'top_k must be an integer, not "1.5"'),
        ("?top_k=", 400, 'top_k must be an integer, not ""'),
        ("?top_k=1&top_k=1", 400, '"top_k" may be given once only'),
        ("?k=1", 400, '"k" is not a field; the fields are top_k'),
    ],
)
def test_parameters_are_exactly_the_documented_ones(
    client: TestClient, query: str, status: int, message: str
) -> None:
    response = classify(client, query=query)
    assert response.status_code == status
    assert response.json()["error"]["message"] == message


@pytest.mark.parametrize(
    ("options", "status", "field"),
    [
        ({"files": {"img": WHITE, "mask": WHITE}}, 400, "mask"),
        ({"files": {"picture": WHITE}}, 400, "picture"),
        ({"files": [("img", WHITE), ("img", WHITE)]}, 400, "img"),
        ({"content": WHITE, "headers": {"Content-Type": "image/png"}}, 415, "Content-Type"),
        ({"json": {"img": ""}}, 415, "Content-Type"),
    ],
)
def test_the_body_is_a_form_with_a_picture(
    client: TestClient, options: dict[str, Any], status: int, field: str
) -> None:
    response = client.post("/classify", **options)
    assert response.status_code == status
    assert response.json()["error"]["field"] == field


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (RequestError(ErrorCode.NOT_READY, "lost", retry_after=20), 503, "not_ready"),
        (RequestError(ErrorCode.INTERNAL, "secret"), 500, "internal"),
        (OSError("secret"), 500, "internal"),
    ],
)
def test_failures_say_no_more_than_they_should(
    client: TestClient, classifier: ShadeClassifier, failure: Exception, status: int, code: str
) -> None:
    classifier.failure = failure
    response = classify(client)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert "secret" not in response.text


def test_more_than_the_bound_are_told_to_come_back(
    backend: ColourBackend, classifier: ShadeClassifier
) -> None:
    settings = Settings(max_classifications=3)
    pictures = Pictures(backend, settings)
    bounded = BoundedClassifier(classifier, settings, pictures.decoders)
    app = create_app(Protocols([NativeProtocol(pictures, settings, bounded)]))

    async def run() -> None:
        classifier.hold = asyncio.Event()
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:

            async def one() -> httpx2.Response:
                return await client.post("/classify", files={"img": WHITE})

            tasks = [asyncio.create_task(one()) for _ in range(5)]
            # Three have their places; the others are answered while those wait.
            while sum(task.done() for task in tasks) < 2:
                await asyncio.sleep(0.01)
            refused = [task.result() for task in tasks if task.done()]
            assert {answer.status_code for answer in refused} == {429}
            assert refused[0].json()["error"]["code"] == "busy"
            assert refused[0].headers["retry-after"] == "1"
            classifier.hold.set()
            answers = await asyncio.gather(*tasks)
            assert [answer.status_code for answer in answers].count(200) == 3
            assert (await one()).status_code == 200
        await pictures.decoders.close()

    asyncio.run(run())


def test_the_models_name_the_classifier(client: TestClient) -> None:
    classifier = client.get("/models").json()["classifier"]
    assert classifier == {"name": "shades", "labels": 3, "width": 2, "height": 1}


def test_without_a_classifier_there_is_no_endpoint(
    backend: ColourBackend, settings: Settings
) -> None:
    with TestClient(create_app(native_protocols(backend, settings))) as client:
        response = classify(client)
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "not_found"
        assert client.get("/models").json()["classifier"] is None
        assert "/classify" not in client.get("/docs.json").json()["paths"]
