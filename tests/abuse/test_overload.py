"""More work than there is room for, clients that leave, and two clients of which one is greedy."""

from __future__ import annotations

import json
import socket
import statistics
import threading
import time
from contextlib import ExitStack, suppress
from functools import partial
from http.client import HTTPConnection, HTTPException
from typing import Any

import httpx
import pytest

from tests.abuse.raw_http import Connection, post, post_head
from tests.abuse.target import (
    LONG,
    MAX_SIDE,
    MAX_STEPS,
    OTHER,
    QUEUE,
    SHORT,
    Target,
    at_once,
    decoded,
)
from tests.effort import effort, only_in_full
from tests.integration.server import WAIT_SECONDS, wait_until

pytestmark = pytest.mark.slow

# Long enough for others to come meanwhile.
BRIEF = SHORT | {"num_inference_steps": 4}
SMALL = {"prompt": "x", "num_inference_steps": 10, "seed": 1}


class Load:
    """A client with requests in flight at all times, which comes again when it is told to.

    In the end it leaves: what it has asked for is not made.

    Args:
        target: the server.
        fields: of each of its requests, in turn.
        source: its address.
        parallel: requests at once.
    """

    def __init__(
        self, target: Target, fields: list[dict[str, Any]], source: str, parallel: int
    ) -> None:
        self._fields = fields
        self._stopping = threading.Event()
        self._connections = [
            HTTPConnection("127.0.0.1", target.port, WAIT_SECONDS, (source, 0))
            for _ in range(parallel)
        ]
        self.responses: list[httpx.Response] = []
        self._threads = [
            threading.Thread(target=self._run, args=(number, connection))
            for number, connection in enumerate(self._connections)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for connection in self._connections:
            # One without a socket is between two requests, and there is no next one.
            with suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for connection in self._connections:
            connection.close()

    def _run(self, number: int, connection: HTTPConnection) -> None:
        headers = {"Content-Type": "application/json"}
        while not self._stopping.is_set():
            fields = self._fields[number % len(self._fields)]
            number += len(self._threads)
            try:
                connection.request("POST", "/txt2img", json.dumps(fields), headers)
                reply = connection.getresponse()
                content = reply.read()
            except (OSError, HTTPException):
                if self._stopping.is_set():
                    return
                raise
            response = httpx.Response(reply.status, headers=reply.getheaders(), content=content)
            self.responses.append(response)
            if response.status_code == 429:
                self._stopping.wait(0.1)


def _check(responses: list[httpx.Response]) -> None:
    """Each is a picture, or a refusal that says when to come again."""
    for response in responses:
        if response.status_code == 200:
            decoded(response.content)
        else:
            assert response.status_code == 429, response.text
            assert 1 <= int(response.headers["retry-after"]) <= 120
            assert response.json()["error"]["code"] == "busy"


def test_overload_is_refused_and_nothing_else_happens(victim: Target) -> None:
    """Four times as many clients as places, from four addresses."""
    calls = [
        partial(victim.post, BRIEF, source)
        for source in ("127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.6")
        for _ in range(effort(QUEUE, 4 * QUEUE))
    ]
    responses = at_once(calls)

    _check(responses)
    assert {response.status_code for response in responses} == {200, 429}


def test_a_request_for_more_pictures_than_there_is_room_for(victim: Target) -> None:
    responses = at_once([partial(victim.post, BRIEF | {"num_images": 2})] * QUEUE)

    assert {response.status_code for response in responses} <= {200, 429}
    assert any(response.status_code == 200 for response in responses)


def test_overload_of_classifications(victim: Target) -> None:
    picture = decoded(victim.post(SHORT).content)
    assert picture.size == (64, 64)
    data = victim.post(SHORT).content
    calls = [
        partial(victim.post_picture, data, "/classify", OTHER) for _ in range(effort(160, 900))
    ]
    statuses = {response.status_code for response in at_once(calls)}

    assert 200 in statuses
    assert statuses <= {200, 429}


@pytest.mark.parametrize("accept", [b"*/*", b"application/json", b"text/event-stream"])
def test_clients_that_leave_are_forgotten(victim: Target, accept: bytes) -> None:
    """At every moment of a request; and who stays gets a picture."""
    fields = SHORT | {"num_inference_steps": MAX_STEPS, "width": MAX_SIDE, "height": MAX_SIDE}
    request = post(json.dumps(fields).encode()).replace(
        b"\r\n\r\n", b"\r\nAccept: " + accept + b"\r\n\r\n", 1
    )
    form = "multipart/form-data; boundary=B"
    moments = [
        b"POST /txt2img HT",
        request[:60],
        request[:-20],
        post_head(100_000, "/img2img", form) + b"--B\r\n",
        request,
        request,
    ]
    stayed: list[httpx.Response] = []
    stayer = threading.Thread(target=lambda: stayed.append(victim.post(SMALL)))
    connections = []
    for number in range(effort(36, 300)):
        connection = Connection(victim.port, OTHER)
        connection.send(moments[number % len(moments)])
        connections.append(connection)
        if number == 12:
            stayer.start()
    wait_until(victim.jobs, "jobs in the queue")
    for connection in connections:
        connection.close()
    stayer.join()

    assert stayed[0].status_code == 200
    victim.assert_idle()


def test_one_client_leaves_places_to_others(victim: Target) -> None:
    """It asks for all places and more, and another one comes after it."""
    with Load(victim, [LONG], OTHER, 2 * QUEUE) as greedy:
        wait_until(
            lambda: any(response.status_code == 429 for response in greedy.responses),
            "the greedy client to be refused",
        )
        responses = at_once([partial(victim.post, SHORT) for _ in range(3)])

    assert [response.status_code for response in responses] == [200] * 3
    _check(greedy.responses)


def test_a_client_does_not_get_the_places_of_others_by_their_names(victim: Target) -> None:
    """Headers that say who it is count from trusted proxies only, and its address is none."""
    request = post(json.dumps(LONG).encode())
    with ExitStack() as stack:
        for number in range(2 * QUEUE):
            name = f"10.0.0.{number}"
            lines = f"\r\nX-Forwarded-For: {name}\r\nForwarded: for={name}\r\nX-Real-Ip: {name}\r\n"
            greedy = stack.enter_context(Connection(victim.port, OTHER))
            greedy.send(request.replace(b"\r\n", lines.encode(), 1))
        wait_until(victim.jobs, "jobs in the queue")
        assert victim.post(SHORT).status_code == 200
    victim.assert_idle()


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([LONG], id="large", marks=only_in_full),
        pytest.param(
            [
                LONG | {"width": width, "height": height}
                for width in range(64, 129, 8)
                for height in (64, 96, 128)
            ],
            id="of-27-sizes",
        ),
        pytest.param(
            [LONG | {"num_images": 2, "width": 64, "height": 64}],
            id="small-and-many",
            marks=only_in_full,
        ),
    ],
)
def test_a_small_picture_beside_all_that_another_client_may_have(
    victim: Target, fields: list[dict[str, Any]]
) -> None:
    """Its time is compared with its time alone. The aim is 3; other processes may run here."""

    def median(times: int) -> float:
        taken = []
        for _ in range(times):
            started = time.monotonic()
            response = victim.post(SMALL)
            taken.append(time.monotonic() - started)
            assert response.status_code == 200
        return statistics.median(taken)

    alone = median(effort(3, 15))
    with Load(victim, fields, OTHER, QUEUE):
        wait_until(lambda: victim.jobs() >= 2, "a busy engine")
        beside = median(effort(3, 15))

    assert beside < 6 * alone
