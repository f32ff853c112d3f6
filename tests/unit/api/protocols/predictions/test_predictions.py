"""Predictions over HTTP."""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jsonschema_rs
import PIL.Image
import pytest
from starlette.testclient import TestClient

from tests.unit.api.conftest import ColourBackend
from tests.unit.api.protocols.keeping_site import other
from tests.unit.api.protocols.predictions.conftest import ORDER, predict


def _png() -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (64, 64), "teal").save(file, "PNG")
    return file.getvalue()


def test_a_prediction_is_as_documented(client: TestClient) -> None:
    """Created, looked at, listed; its picture by a link and by its place."""
    created = client.post("/predictions", json=ORDER)
    assert created.status_code == 201
    assert created.headers["location"].endswith(f"/predictions/{created.json()['id']}")
    document = client.get("/docs.json").json()

    def check(name: str, body: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema_rs.Draft202012Validator(schema).validate(body)

    check("PredictionState", created.json())
    done = client.get(created.headers["location"], headers={"Prefer": "wait=5"}).json()
    check("PredictionState", done)
    assert (done["status"], done["error"]) == ("succeeded", None)
    assert done["input"] == ORDER["input"]
    page = client.get("/predictions").json()
    check("PredictionPage", page)
    assert [one["id"] for one in page["results"]] == [done["id"]]
    check("SigningSecret", client.get("/webhooks/default/secret").json())
    (link,) = done["output"]
    picture = client.get(link)
    assert picture.headers["content-type"] == "image/png"
    assert other(client).get(link).content == picture.content
    assert client.get(f"/predictions/{done['id']}/output/0").content == picture.content
    model = client.get("/v1/models/anyone/tiny").json()
    check("ReplicateModel", model)
    assert client.get("/v1/models/anyone/tiny/versions/tiny").json() == model["latest_version"]


def test_what_it_answers_with(client: TestClient) -> None:
    """The statuses of each way to order."""
    for headers, status, applied in [
        ({}, 201, None),
        ({"Prefer": "respond-async"}, 202, "respond-async"),
        ({"Prefer": "wait=5"}, 201, "wait=5"),
        ({"Prefer": "respond-async, wait=0"}, 202, "respond-async, wait=0"),
        ({"Prefer": "wait=soon, lenient"}, 201, None),
    ]:
        response = client.post("/v1/predictions", json=ORDER, headers=headers)
        assert response.status_code == status, headers
        assert response.headers.get("preference-applied") == applied
    done = predict(client, model="someone/tiny", version="tiny")
    assert done["status"] == "succeeded"
    assert client.post("/v1/models/someone/tiny/predictions", json=ORDER).status_code == 201


def test_a_repeated_order_is_the_same_prediction(client: TestClient) -> None:
    first = client.put("/predictions/mine", json=ORDER)
    again = client.put("/predictions/mine", json=ORDER)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["created_at"] == again.json()["created_at"]
    changed = client.put("/predictions/mine", json={"input": {"prompt": "a plum"}})
    assert (changed.status_code, changed.json()["code"]) == (409, "conflict")
    assert changed.json()["field"] == "id"
    # Which says nothing of whose it is.
    assert other(client).put("/predictions/mine", json=ORDER).status_code == 404

    key = {"Idempotency-Key": "k"}
    seeds = set()
    for _ in range(2):
        response = client.post("/txt2img", json={"prompt": "x"}, headers=key | _ASYNC)
        assert response.status_code == 202
        seeds.add(response.json()["input"]["seed"])
    assert len(seeds) == 1
    reused = client.post("/txt2img", json={"prompt": "y"}, headers=key | _ASYNC)
    assert (reused.status_code, reused.json()["error"]["field"]) == (409, "Idempotency-Key")
    theirs = other(client).post("/txt2img", json={"prompt": "y"}, headers=key | _ASYNC)
    assert theirs.status_code == 202


_ASYNC = {"Prefer": "respond-async"}


def test_any_native_endpoint_can_be_a_prediction(
    client: TestClient, backend: ColourBackend
) -> None:
    data = base64.b64encode(_png()).decode()
    files = {"img": _png(), "data": b'{"prompt": "x", "strength": 0.5}'}
    seeds = []
    for response in (
        client.post("/txt2img", json={"prompt": "x", "seed": 3}, headers=_ASYNC),
        client.post("/img2img", files=files, headers=_ASYNC),
        client.post("/inpaint", files={**files, "mask": _png()}, headers=_ASYNC),
        client.get("/dreambooth", params={"prompt": "x"}, headers=_ASYNC),
        client.post("/predictions", json={"input": {"prompt": "x", "image": data, "mask": data}}),
        client.post(
            "/predictions",
            json={"input": {"prompt": "x", "image": f"data:image/png;base64,{data}"}},
        ),
    ):
        assert response.status_code in {201, 202}, response.text
        url = response.headers["location"]
        done = client.get(url, headers={"Prefer": "wait=5"}).json()
        assert done["status"] == "succeeded", done
        seeds.append(done["input"]["seed"])
    run = {one.seed: (bool(one.init_image), bool(one.mask)) for one in backend.requests}
    text, picture, masked = (False, False), (True, False), (True, True)
    assert [run[seed] for seed in seeds] == [text, picture, masked, text, masked, picture]
    # A synchronous one leaves no trace.
    count = len(client.get("/predictions").json()["results"])
    assert client.post("/txt2img", json={"prompt": "x"}).status_code == 200
    assert len(client.get("/predictions").json()["results"]) == count


def test_a_cancelled_one_is_over_and_can_be_deleted(
    client: TestClient, backend: ColourBackend
) -> None:
    backend.hold = asyncio.Event()
    url = client.post("/predictions", json=ORDER).headers["location"]
    refused = client.delete(url)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    for _ in range(2):
        canceled = client.post(f"{url}/cancel", json={})
        assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
    assert other(client).delete(url).status_code == 404
    assert client.delete(url).status_code == 204
    assert client.get(url).status_code == 404


def test_events_come_once_more_after_a_break(client: TestClient) -> None:
    done = predict(client)
    events = _events(client.get(done["urls"]["events"]).text)
    assert events[0][0] == "prediction"
    assert events[-1][0] == "completed"
    names = [name for name, identifier, _ in events if identifier]
    assert names == ["start", "progress", "progress", "output", "completed"]
    identifier = events[2][1]
    assert identifier is not None
    missed = _events(client.get(done["urls"]["events"], headers={"Last-Event-ID": identifier}).text)
    assert [name for name, _, _ in missed] == ["prediction", "progress", "output", "completed"]
    # One that another process has counted.
    foreign = {"Last-Event-ID": "00000000-3"}
    names = [
        name for name, _, _ in _events(client.get(done["urls"]["events"], headers=foreign).text)
    ]
    assert names[:2] == ["prediction", "dropped"]


def _events(text: str) -> list[tuple[str, str | None, str]]:
    events = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        events.append((fields["event"], fields.get("id"), fields["data"]))
    return events


def test_parts_of_a_picture(client: TestClient) -> None:
    (link,) = predict(client)["output"]
    whole = client.get(link)
    size, etag = len(whole.content), whole.headers["etag"]
    for asked, part in [
        ("bytes=0-9", (0, 10)),
        ("bytes=10-", (10, size)),
        ("bytes=-7", (size - 7, size)),
        (f"bytes=5-{size * 2}", (5, size)),
    ]:
        response = client.get(link, headers={"Range": asked})
        assert response.status_code == 206
        assert response.content == whole.content[slice(*part)]
        assert response.headers["content-range"] == f"bytes {part[0]}-{part[1] - 1}/{size}"
    for asked in ("bytes=0-1,4-5", "bytes=9-1", "lines=1-2", "bytes=-", f"bytes=0-{size - 1}"):
        assert client.get(link, headers={"Range": asked}).status_code == 200
    for asked in (f"bytes={size}-", "bytes=-0"):
        response = client.get(link, headers={"Range": asked})
        assert (response.status_code, response.headers["content-range"]) == (416, f"bytes */{size}")
    assert client.get(link, headers={"If-None-Match": f'"x", {etag}'}).status_code == 304
    stale = client.get(link, headers={"Range": "bytes=0-9", "If-Range": '"x"'})
    assert stale.status_code == 200


def test_links_that_are_not_ours_or_old(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    (link,) = predict(client)["output"]
    path, query = urlsplit(link).path, dict(parse_qsl(urlsplit(link).query))
    stranger = other(client)
    for changed in (
        {"expires": str(int(query["expires"]) + 1)},
        {"signature": "0" * 64},
        {"signature": "é"},
    ):
        assert stranger.get(path, params=query | changed).status_code == 403
    assert stranger.get(path, params={"expires": "1"}).status_code == 403
    assert stranger.get(path).status_code == 404
    assert stranger.get(path, params={"expires": "soon"}).status_code == 400
    monkeypatch.setattr("api.predictions.links.time.time", lambda: float(query["expires"]) + 1)
    late = stranger.get(link)
    assert (late.status_code, late.json()["code"]) == (410, "gone")
    assert late.headers["content-type"] == "application/problem+json"


def test_pages_and_filters(client: TestClient) -> None:
    made = [predict(client)["id"] for _ in range(3)]
    page = client.get("/predictions", params={"limit": 2, "status": "succeeded"}).json()
    assert [one["id"] for one in page["results"]] == made[:0:-1]
    assert "status=succeeded" in page["next"]
    rest = client.get(page["next"]).json()
    assert ([one["id"] for one in rest["results"]], rest["next"]) == (made[:1], None)
    for query in (
        {"status": "failed"},
        {"model": "other"},
        {"created_after": "2100-01-01T00:00:00Z"},
        {"created_before": "2000-01-01T00:00:00"},
        {"search": "apple"},
        {"id_prefix": "other-"},
    ):
        assert client.get("/v1/predictions", params=query).json()["results"] == []
    sought = {"search": "PEAR", "id_prefix": made[0]}
    assert len(client.get("/predictions", params=sought).json()["results"]) == 1
    assert other(client).get("/predictions").json()["results"] == []


def test_a_link_begins_as_the_setting_says(
    backend: ColourBackend, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(client)
    body = client.get("/predictions", headers={"Host": "localhost:81"}).json()["results"][0]
    assert body["urls"]["get"].startswith("http://localhost:81/predictions/")
