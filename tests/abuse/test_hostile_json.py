"""Hostile JSON: refused in a sentence, or taken literally; and never at the cost of others."""

from __future__ import annotations

import json
import re
import time
from functools import partial
from itertools import product

import httpx
import pytest

from tests.abuse.hostile_json import BODIES, FIELDS, PROMPTS, TEMPLATES, VALUES, body
from tests.abuse.raw_http import Connection, post, post_head
from tests.abuse.target import QUEUE, SHORT, Target, at_once, attack_meanwhile, decoded
from tests.effort import FULL, effort

STATUSES = {200, 400, 404, 413, 415, 422}
# What the bodies here may take; usually it is milliseconds.
SECONDS = 15.0
JSON = {"Content-Type": "application/json"}
# The longest JSON body by default.
LIMIT = 64 * 1024
# Long enough to stop a server that reads them all, for many seconds.
BOMBS = {
    "loras-that-are-none": b'{"prompt":"a","loras":[' + b",".join([b"{}"] * 3_000_000) + b"]}",
    "loras": b'{"prompt":"a","loras":[' + b",".join([b'{"name":"a"}'] * 700_000) + b"]}",
    "unknown-fields": b"{" + b",".join(b'"f%d":1' % number for number in range(700_000)) + b"}",
}


def _post(victim: Target, content: bytes, **headers: str) -> httpx.Response:
    started = time.monotonic()
    response = victim.server.client.post("/txt2img", content=content, headers=JSON | headers)
    assert time.monotonic() - started < SECONDS
    assert response.status_code in STATUSES
    if response.status_code == 200:
        if response.headers["content-type"].startswith("image/"):
            decoded(response.content)
    else:
        error = response.json()["error"]
        assert len(error["message"]) < 2000
        assert "Traceback" not in error["message"]
    return response


# Usually every fourth of them, and so each field and each value several times.
@pytest.mark.parametrize(("field", "value"), list(product(FIELDS, VALUES))[:: effort(4, 1)])
def test_a_value_of_any_kind_in_any_field(victim: Target, field: str, value: str) -> None:
    response = _post(victim, body(field, VALUES[value]))

    if value in {"nan", "minus-infinity", "leading-zero", "plus", "hex", "1e400", "lone-surrogate"}:
        assert response.status_code in {400, 422}, "that is no JSON, and no finite number"


@pytest.mark.parametrize("name", BODIES)
def test_a_body_of_any_kind(victim: Target, name: str) -> None:
    response = _post(victim, BODIES[name])

    if not name.startswith("twice-"):
        assert response.status_code in {400, 404, 413, 422}


@pytest.mark.parametrize("name", PROMPTS)
def test_a_prompt_is_text_and_nothing_else(victim: Target, name: str) -> None:
    """It comes back as it was sent, in JSON and inside the file, and is read as nothing else."""
    prompt = PROMPTS[name]
    body = json.dumps(SHORT | {"prompt": prompt}).encode()
    response, as_json = at_once(
        [partial(_post, victim, body), partial(_post, victim, body, Accept="application/json")]
    )

    assert response.status_code == 200
    assert not {"x-evil", "set-cookie"} & set(response.headers)
    text = decoded(response.content).info["parameters"]
    assert isinstance(text, str)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    *lines, settings = text.split("\n")
    assert settings.startswith("Steps: 1, ")
    assert not re.search("(Negative prompt|Steps):", "\n".join(lines))
    exact = re.search(r'Exact prompt: ("(?:[^"\\]|\\.)*")', settings)
    assert (json.loads(exact[1]) if exact else "\n".join(lines)) == prompt
    assert as_json.json()["images"][0]["prompt"] == prompt


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_of_any_kind(victim: Target, name: str) -> None:
    fields = SHORT | {"prompt": TEMPLATES[name], "expand_prompt": True}
    _post(victim, json.dumps(fields).encode())


def test_a_prompt_in_a_url(victim: Target) -> None:
    """Several at once, as each takes as many steps as there are by default.

    Usually those with characters that could end a header: once decoded, the others are text as in
    JSON.
    """
    ask = partial(victim.server.client.post, "/dreambooth")
    prompts = [
        prompt
        for prompt in PROMPTS.values()
        if len(prompt) <= 1000 and (FULL or re.search("[\x00-\x1f\x7f-\x9f\u2028]", prompt))
    ]
    # All that one client may have in the queue.
    places = QUEUE * 3 // 4
    for start in range(0, len(prompts), places):
        several = prompts[start : start + places]
        for response in at_once([partial(ask, params={"prompt": prompt}) for prompt in several]):
            assert response.status_code in STATUSES
            assert not {"x-evil", "set-cookie"} & set(response.headers)


@pytest.mark.parametrize("length", [LIMIT + 1, 9_000_000, 2**40])
def test_a_long_body_is_refused_before_it_is_sent(victim: Target, length: int) -> None:
    with Connection(victim.port) as connection:
        connection.send(post_head(length))
        (reply,) = connection.replies()

    assert reply.status == 413
    assert str(LIMIT) in reply.json()["error"]["message"]


def test_a_long_body_without_a_length_is_refused(victim: Target) -> None:
    head = post_head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    with Connection(victim.port) as connection:
        connection.send(head)
        for _ in range(LIMIT // 1024 + 1):
            connection.send(b"400\r\n" + b" " * 1024 + b"\r\n")
        (reply,) = connection.replies()

    assert reply.status == 413


def test_the_longest_body_is_taken(victim: Target) -> None:
    content = json.dumps(SHORT).encode()

    assert _post(victim, content + b" " * (LIMIT - len(content))).status_code == 200
    assert _post(victim, content + b" " * (LIMIT + 1 - len(content))).status_code == 413


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_large_bodies_do_not_stop_the_others(victim: Target, name: str) -> None:
    """Whether as JSON or as the JSON part of a form, in several requests at once."""
    bomb = BOMBS[name]
    form = b'--B\r\nContent-Disposition: form-data; name="data"\r\n\r\n' + bomb + b"\r\n--B--\r\n"
    requests = [post(bomb), post(form, "/img2img", "multipart/form-data; boundary=B")]

    statuses, longest = attack_meanwhile(victim, requests * effort(2, 8))

    # A body of 9 MB once took 20 s.
    assert longest < 2
    # A server that refuses a body before reading it may close while it is being sent.
    assert set(statuses) <= {400, 413, 422}
