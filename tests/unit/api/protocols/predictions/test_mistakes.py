"""Mistakes in orders, and in whatever else is asked for."""

from __future__ import annotations

import json
from typing import Any, Final
from unittest.mock import ANY

from starlette.testclient import TestClient

from tests.unit.api.protocols.keeping_site import other
from tests.unit.api.protocols.predictions.conftest import ORDER, predict

_JSON: Final = {"Content-Type": "application/json"}

MISTAKES: list[tuple[Any, int, str | None]] = [
    ({}, 400, "input"),
    ({"input": 1}, 400, "input"),
    ({"input": {}}, 400, "prompt"),
    ({"input": {"prompt": 1}}, 400, "prompt"),
    ({"input": {"prompt": "x", "colour": 1}}, 400, "colour"),
    ({"input": {"prompt": "x", "model": "tiny"}}, 400, "model"),
    ({"input": {"prompt": "x", "width": 65}}, 422, "width"),
    ({"input": {"prompt": "x", "mask": "AAAA"}}, 400, "image"),
    ({"input": {"prompt": "x", "image": 1}}, 400, "image"),
    ({"input": {"prompt": "x", "image": "https://example.com/a.png"}}, 400, "image"),
    ({"input": {"prompt": "x", "image": "data:image/png,x"}}, 400, "image"),
    ({"input": {"prompt": "x", "image": "AAAA"}}, 415, "image"),
    ({**ORDER, "model": "other"}, 404, "model"),
    ({**ORDER, "model": "tiny", "version": "other"}, 400, "model"),
    ({**ORDER, "stream": True}, 400, "stream"),
    ({**ORDER, "id": "no/slash"}, 422, "id"),
    ({**ORDER, "id": ""}, 422, "id"),
    ({**ORDER, "priority": "urgent"}, 400, "priority"),
    ({**ORDER, "deadline": 0}, 400, "deadline"),
    ({**ORDER, "start_timeout": 1e9}, 400, "start_timeout"),
    ({**ORDER, "webhook": "nonsense"}, 422, "webhook"),
    ({**ORDER, "webhook": "http://example.com/"}, 422, "webhook"),
    ({**ORDER, "webhook": "https://10.0.0.1/"}, 422, "webhook"),
    ({**ORDER, "webhook": "https://0x7f.1/"}, 422, "webhook"),
    ({**ORDER, "webhook": "https://[::1]/"}, 422, "webhook"),
    ({**ORDER, "webhook": "https://[bad/"}, 422, "webhook"),
    ({**ORDER, "webhook": "https://a:b@example.com/"}, 422, "webhook"),
    ({**ORDER, "webhook": "https://example.com:99999/"}, 422, "webhook"),
    ({**ORDER, "webhook": "https://example.com:0/"}, 422, "webhook"),
    ({**ORDER, "webhook_events_filter": ["done"]}, 400, "webhook_events_filter.0"),
    ({**ORDER, "webhook_events_filter": ["completed"]}, 400, "webhook"),
    ({**ORDER, "unknown": 1}, 400, "unknown"),
    *(
        ({**ORDER, name: [1]}, 400, name)
        for name in ("model", "version", "id", "webhook", "stream", "priority")
    ),
    ({**ORDER, "webhook_events_filter": "completed"}, 400, "webhook_events_filter"),
    ({**ORDER, "deadline": "soon"}, 400, "deadline"),
    ({**ORDER, "start_timeout": -1}, 400, "start_timeout"),
    ({"input": {"prompt": "x" * 2001}}, 422, "prompt"),
    ([], 400, None),
]


def test_mistakes(client: TestClient) -> None:
    for body, status, field in MISTAKES:
        response = client.post("/predictions", json=body)
        assert (response.status_code, response.json().get("field")) == (status, field), body
        if field in {"webhook", "priority", "deadline", "start_timeout"} and field in body:
            # What was sent is said as well.
            assert json.dumps(body[field]) in response.json()["detail"], body
        assert response.json()["request_id"] == response.headers["x-request-id"]


def test_other_mistakes(client: TestClient) -> None:
    for response, status in (
        (client.post("/predictions", content=b"{}"), 415),
        (client.put("/predictions/mine", json={**ORDER, "id": "other"}), 400),
        (client.put("/predictions/-x", json=ORDER), 422),
        (client.post("/predictions", json=ORDER, headers={"Idempotency-Key": "a b"}), 422),
        (client.post("/v1/models/o/tiny/predictions", json={**ORDER, "version": "x"}), 400),
        (client.post("/v1/models/o/none/predictions", json=ORDER), 404),
        (client.get("/v1/models/o/none"), 404),
        (client.get("/v1/models/o/tiny/versions/2"), 404),
        (client.get("/predictions/none"), 404),
        (client.get("/predictions/%00"), 404),
        (client.get("/predictions/none/events"), 404),
        (client.get("/predictions/none/output/0"), 404),
        (client.get("/predictions/none/output/x"), 404),
        (client.get("/predictions/none/nothing"), 404),
        (client.get("/predictions?status=done"), 400),
        (client.get("/predictions?limit=0"), 400),
        (client.get("/predictions?colour=red"), 400),
        # No database takes it as a text.
        (client.get("/predictions?model=%00"), 400),
        (client.get("/predictions?cursor=x"), 400),
        (client.get("/predictions?created_after=soon"), 400),
        (client.get("/predictions?search=a%00"), 400),
        (client.get("/predictions?search="), 400),
        (client.get("/predictions?model=%00"), 400),
        (client.get("/predictions?id_prefix=no/slash"), 400),
        (client.get("/predictions?created_after=0001-01-01T00:00:00%2B14:00"), 200),
        (client.post("/webhooks/deliveries/none/resend"), 404),
        (client.post("/webhooks/deliveries/%00/resend"), 404),
        (client.get("/webhooks/deliveries?state=x"), 400),
        (client.get("/webhooks/deliveries?colour=red"), 400),
        (client.post("/predictions", content=b"{", headers=_JSON), 400),
        (client.post("/predictions", content=b"\xff{}", headers=_JSON), 400),
        (client.post("/predictions", content=b"", headers=_JSON), 400),
        (client.post("/predictions", content=b" " * 2 * 1024 * 1024, headers=_JSON), 413),
        (client.post("/v1/predictions", json={}), 400),
        (client.delete("/predictions/none"), 404),
        (client.patch("/predictions"), 405),
        (client.post("/predictions/none/cancel", content=b"now"), 400),
    ):
        assert response.status_code == status, response.text
        if status >= 400:
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["status"] == status
    done = predict(client)
    assert client.get(f"/predictions/{done['id']}/output/7").status_code == 404
    assert client.get(f"/predictions/{done['id']}/output/0?colour=red").status_code == 400


def test_another_clients_prediction_is_none(client: TestClient) -> None:
    """Whatever is done to it, it is the same as one that is not there."""
    done = predict(client, id="theirs")
    stranger = other(client)
    for method, place in (
        ("GET", ""),
        ("PUT", ""),
        ("DELETE", ""),
        ("POST", "/cancel"),
        ("GET", "/events"),
        ("GET", "/output/0"),
    ):
        body = ORDER if method == "PUT" else None
        answers = [
            stranger.request(method, f"/predictions/{name}{place}", json=body)
            for name in (("theirs",) if method == "PUT" else ("theirs", "nobodys"))
        ]
        assert {one.status_code for one in answers} == {404}, (method, place)
        told = {
            one.json()["detail"].replace("nobodys", "theirs").replace('"theirs"', "it")
            for one in answers
        }
        assert len(told) == 1, told
    assert stranger.get("/v1/predictions/theirs").status_code == 404
    assert stranger.post("/v1/predictions/theirs/cancel").status_code == 404
    assert client.get("/predictions/theirs").json() == {**done, "output": ANY, "outputs": ANY}
