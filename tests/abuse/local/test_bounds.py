"""Connections, bodies and pictures have the same bounds as on the BentoML host."""

from __future__ import annotations

import pytest

from tests.abuse.hostile_json import BODIES
from tests.abuse.hostile_queries import wrong_replies
from tests.abuse.pictures import HOSTILE
from tests.abuse.raw_http import Connection, post_head
from tests.abuse.raw_requests import CASES, CLOSED, SMUGGLED
from tests.abuse.target import BODY_IDLE, HEAD_SECONDS, PICTURE, Target

pytestmark = pytest.mark.slow


def _replies(victim: Target, data: bytes) -> list[int]:
    with Connection(victim.port) as connection:
        connection.send(data)
        return [reply.status for reply in connection.replies()]


def test_raw_requests(victim: Target) -> None:
    wrong = {}
    for name, (data, expected) in CASES.items():
        statuses = _replies(victim, data)
        if len(statuses) > 1 or (statuses or [CLOSED])[0] not in expected:
            wrong[name] = statuses

    assert not wrong
    assert all(len(_replies(victim, data)) <= 1 for data in SMUGGLED.values())


def test_hostile_json(victim: Target) -> None:
    for name, body in BODIES.items():
        headers = {"Content-Type": "application/json"}
        response = victim.server.client.post("/txt2img", content=body, headers=headers)
        assert response.status_code in {200, 400, 404, 413, 422}, name


def test_hostile_queries(victim: Target) -> None:
    assert not wrong_replies(victim.port)


def test_a_long_body_is_refused_before_it_is_sent(victim: Target) -> None:
    assert _replies(victim, post_head(9_000_000)) == [413]


def test_hostile_pictures(victim: Target) -> None:
    for name in ("jpeg-900-scans", "png-16000000-high", "png-palette-transparent"):
        response = victim.server.client.post("/classify", files={"img": HOSTILE[name]()})
        assert response.status_code in {400, 413, 422}, name
    assert victim.server.client.post("/classify", files={"img": PICTURE}).status_code == 200


def test_who_stalls_is_given_up(victim: Target) -> None:
    with Connection(victim.port) as head, Connection(victim.port) as body:
        head.send(b"GET /models HTTP/1.1\r\n")
        body.send(post_head(100))

        assert head.seconds_until_closed(HEAD_SECONDS + 10) < HEAD_SECONDS + 10
        assert body.seconds_until_closed(BODY_IDLE + 10) < BODY_IDLE + 10
