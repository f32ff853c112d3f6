"""Hostile requests of OpenAI's protocol: JSON, forms, pictures within JSON."""

from __future__ import annotations

import base64
import time
from itertools import product
from typing import Any

import httpx

from tests.abuse.hostile_json import BODIES, FIELDS, VALUES, body
from tests.abuse.pictures import HOSTILE
from tests.abuse.raw_http import post
from tests.abuse.target import PICTURE, SHORT, Target, attack_meanwhile
from tests.effort import effort

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
STATUSES = {200, 400, 404, 413, 415}
# What any of them may take; all but a few take milliseconds.
SECONDS = 20.0
JSON = {"Content-Type": "application/json"}
OWN = ("n", "size", "response_format", "output_compression", "quality", "user", "stream", "mask")
URL = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
BOMBS = {
    "images": b'{"prompt":"x","images":[' + b",".join([b"{}"] * 1_000_000) + b"]}",
    "one-url": b'{"prompt":"x","images":[{"image_url":"data:;base64,' + b"A" * 11_000_000 + b'"}]}',
    "escapes": b'{"prompt":"x","images":[{"image_url":"' + b"\\u0041" * 1_500_000 + b'"}]}',
}


def _check(started: float, response: httpx.Response) -> None:
    assert time.monotonic() - started < SECONDS
    assert response.status_code in STATUSES, response.text[:500]
    if response.status_code != 200:
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert len(error["message"]) < 3000
        assert "Traceback" not in error["message"]


def _post(victim: Target, path: str, **arguments: Any) -> None:
    started = time.monotonic()
    _check(started, victim.server.client.post(path, **arguments))


def test_values_of_any_kind_in_any_field(victim: Target) -> None:
    """Usually every tenth of them, in JSON and, as texts, in a form."""
    pairs = list(product((*OWN, *FIELDS), VALUES))[:: effort(10, 1)]
    for number, (field, value) in enumerate(pairs):
        if number % 2 or effort(0, 1):
            _post(victim, GENERATIONS, content=body(field, VALUES[value]), headers=JSON)
        if not number % 2 or effort(0, 1):
            texts = {name: (None, str(given)) for name, given in SHORT.items()}
            form = {**texts, "image": PICTURE, field: (None, VALUES[value])}
            _post(victim, EDITS, files=form)


def test_bodies_of_any_kind(victim: Target) -> None:
    for number, content in enumerate(BODIES.values()):
        if number % 2 or effort(0, 1):
            _post(victim, GENERATIONS, content=content, headers=JSON)
        if not number % 2 or effort(0, 1):
            _post(victim, EDITS, content=content, headers=JSON)


def test_names_of_any_kind_in_a_form(victim: Target) -> None:
    names = ("", "[", "[]", "[][]", "loras[][name][x]", "a" * 4000, "image[0]", "loras[" * 500)
    for name in (*names, "n[]", "mask[]", "prompt[a]", "loras[][name]", "refiner[switch_at]"):
        _post(victim, EDITS, files={"prompt": (None, "x"), "image": PICTURE, name: (None, "1")})


def test_pictures_of_any_kind(victim: Target) -> None:
    """As the mask, whose decoding is another one; usually every fourth of them."""
    for name in list(HOSTILE)[:: effort(4, 1)]:
        data = base64.b64encode(HOSTILE[name]()).decode()
        mask = {"image_url": f"data:image/png;base64,{data}"}
        _post(victim, EDITS, json={**SHORT, "images": [{"image_url": URL}], "mask": mask})


def test_large_bodies_do_not_stop_the_others(victim: Target) -> None:
    assert all(len(content) < 12 * 1024 * 1024 for content in BOMBS.values())
    statuses, longest = attack_meanwhile(
        victim, [post(content, EDITS) for content in BOMBS.values()] * effort(1, 4)
    )

    assert longest < 2
    # A server that refuses a body before reading it may close while it is being sent.
    assert set(statuses) <= {400, 413, 415}
