"""The classifier: in the process of the local host, and in its own with BentoML's batching."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from models.vit import EMBEDDED, read_vit
from tests import uploads
from tests.conftest import ROOT
from tests.integration.server import Server
from tests.integration.test_errors import check

REQUESTS, AT_ONCE = 200, 64
PICTURE = uploads.encode(uploads.red_and_blue())


def draw(server: Server, prompt: str, seed: int = 1) -> bytes:
    response = server.client.post("/txt2img", json={"prompt": prompt, "seed": seed})
    assert response.status_code == 200, response.text
    return response.content


def classify(client: httpx.Client, data: bytes, **query: Any) -> httpx.Response:
    return client.post("/classify", files={"img": data}, params=query)


@pytest.mark.parametrize("name", ["red apple", "owl", "taxi", "cactus"])
def test_what_the_service_draws_it_recognises(any_host: Server, name: str) -> None:
    picture = draw(any_host, f"a {name} on a blue background")
    best = classify(any_host.client, picture, top_k=1).json()["predictions"]
    assert [prediction["label"] for prediction in best] == [name]
    assert best[0]["score"] > 0.3


def test_under_load_pictures_share_batches_and_none_is_lost(bentoml_server: Server) -> None:
    art = sorted((ROOT / "training" / "embedded" / "art" / "noto").glob("*.png"))[:20]
    files = [path.read_bytes() for path in art]
    labels = len(read_vit(EMBEDDED).labels)

    def scores(data: bytes) -> dict[str, float]:
        response = classify(client, data, top_k=labels)
        assert response.status_code == 200, response.text
        return {item["label"]: item["score"] for item in response.json()["predictions"]}

    def batched(name: str) -> float:
        return bentoml_server.metric(
            f"bentoml_runner_adaptive_batch_size_{name}", runner_name="classifier"
        )

    with httpx.Client(
        base_url=bentoml_server.url, timeout=90, limits=httpx.Limits(max_connections=AT_ONCE)
    ) as client:
        alone = [scores(data) for data in files]
        batches, pictures = batched("count"), batched("sum")
        with ThreadPoolExecutor(AT_ONCE) as pool:
            together = list(pool.map(scores, files * (REQUESTS // len(files))))
    assert batched("sum") - pictures == REQUESTS
    assert batched("count") - batches < REQUESTS / 2
    for number, answer in enumerate(together):
        assert answer == pytest.approx(alone[number % len(files)], abs=1e-5)


@pytest.mark.parametrize("name", uploads.BROKEN)
def test_what_is_no_picture_is_refused(server: Server, name: str) -> None:
    data, code = uploads.BROKEN[name]
    response = classify(server.client, data)
    assert response.status_code < 500
    check(response, response.status_code, code.value, "img")


def test_the_size_of_an_upload_is_bounded(server: Server) -> None:
    check(classify(server.client, bytes(13_000_000)), 413, "payload_too_large", None)


def test_a_pickle_is_not_even_opened(server: Server) -> None:
    pickle = b"cposix\nsystem\n(S'false'\ntR."
    check(classify(server.client, pickle), 415, "unsupported_media_type", "img")
    headers = {"Content-Type": "application/vnd.bentoml.PandasDataFrameContainer"}
    response = server.client.post("/classify", content=pickle, headers=headers)
    check(response, 415, "unsupported_media_type", "Content-Type")


@pytest.mark.parametrize(
    ("query", "status", "code", "field"),
    [
        ({"top_k": 0}, 422, "out_of_range", "top_k"),
        ({"top_k": 147}, 422, "out_of_range", "top_k"),
        ({"top_k": "x"}, 400, "invalid_request", "top_k"),
        ({"model": "x"}, 400, "invalid_request", "model"),
    ],
)
def test_parameters_are_checked(
    server: Server, query: dict[str, Any], status: int, code: str, field: str
) -> None:
    check(classify(server.client, PICTURE, **query), status, code, field)


def test_the_classifier_is_listed(server: Server) -> None:
    listed = server.client.get("/models").json()["classifier"]
    assert listed == {"name": "embedded", "labels": 146, "width": 64, "height": 64}
