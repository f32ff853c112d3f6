"""Bodies in memory: what is reserved for them, and for how long."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from starlette.requests import Request

from api import clients
from api.bodies import Body
from api.uploads import Uploads
from contract.errors import ErrorCode, RequestError
from settings import Settings

MIB = 1024 * 1024
FORM = b'--B\r\nContent-Disposition: form-data; name="img"\r\n\r\n%s\r\n--B--\r\n'


class Client:
    """Sends a body in chunks, each when it is asked for; ``asked`` counts them."""

    def __init__(self, *chunks: bytes, announced: int | None = None) -> None:
        self._chunks = list(chunks)
        self.asked = 0
        headers = [(b"content-type", b"multipart/form-data; boundary=B")]
        if announced is not None:
            headers.append((b"content-length", str(announced).encode()))
        self._scope = {
            "type": "http",
            "method": "POST",
            "path": "/",
            "headers": headers,
            "client": ("10.0.0.1", 1),
        }

    @property
    def request(self) -> Request:
        return Request(self._scope, self._receive)

    async def _receive(self) -> dict[str, Any]:
        self.asked += 1
        chunk = self._chunks.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(self._chunks)}


def small_memory() -> Uploads:
    return Uploads(Settings(max_body_bytes=2000, max_bodies_bytes=10_000))


async def refusal(uploads: Uploads, client: Client) -> RequestError:
    with pytest.raises(RequestError) as refused:
        await uploads.read(client.request)
    assert refused.value.code is ErrorCode.BUSY
    assert refused.value.retry_after
    return refused.value


def test_bodies_are_whole_however_they_come() -> None:
    async def run() -> None:
        uploads = small_memory()
        for announced in (None, 6):
            client = Client(b"abc", b"", b"def", announced=announced)
            assert await uploads.read(client.request) == b"abcdef"
        assert await uploads.read(Client(b"").request) == b""
        assert uploads.budget.reserved == 0

    asyncio.run(run())


def test_what_does_not_fit_is_refused_unread() -> None:
    async def run() -> None:
        uploads = small_memory()
        mine = [uploads.body(Client(bytes(2000), announced=2000).request) for _ in range(2)]
        for body in mine:
            await body.__aenter__()
        late = Client(bytes(2000), announced=2000)
        assert "5000 bytes" in (await refusal(uploads, late)).message
        assert late.asked == 0
        # Another client has the other half.
        others = [uploads.body(Client(bytes(2000), announced=2000).request) for _ in range(2)]
        with clients.noted({"client": ("10.0.0.2", 1)}):
            for body in others:
                await body.__aenter__()
        assert uploads.budget.reserved == 8000
        third = Client(bytes(2001), announced=2001)
        with clients.noted({"client": ("10.0.0.3", 1)}):
            assert "10000 bytes" in (await refusal(uploads, third)).message
        for body in (*mine, *others):
            await body.__aexit__(None, None, None)
        assert uploads.budget.reserved == 0
        assert len(await uploads.read(late.request)) == 2000

    asyncio.run(run())


def test_what_is_not_announced_is_reserved_as_it_comes() -> None:
    async def run() -> None:
        uploads = small_memory()
        client = Client(*(bytes(1000) for _ in range(10)))
        await refusal(uploads, client)
        assert client.asked == 6
        assert uploads.budget.reserved == 0

    asyncio.run(run())


def test_a_client_may_always_send_one_body() -> None:
    async def run() -> None:
        uploads = Uploads(Settings(max_body_bytes=2000, max_bodies_bytes=2000))
        assert len(await uploads.read(Client(bytes(2000), announced=2000).request)) == 2000

    asyncio.run(run())


def test_parts_are_views_that_end_with_the_reservation() -> None:
    async def run() -> None:
        uploads = small_memory()
        client = Client(FORM % b"picture", announced=len(FORM) + 5)
        async with uploads.form(client.request, ["img"]) as parts:
            part = parts["img"]
            assert bytes(part) == b"picture"
            assert isinstance(part.obj, bytearray)
            assert uploads.budget.reserved == len(FORM) + 5
        assert uploads.budget.reserved == 0
        with pytest.raises(ValueError, match="released"):
            bytes(part)

    asyncio.run(run())


def test_a_text_part_is_bounded_as_json_is() -> None:
    async def run() -> None:
        uploads = Uploads(Settings(max_json_bytes=1024))
        form = FORM % bytes(1025)
        with pytest.raises(RequestError) as refused:
            async with uploads.form(Client(form).request, [], ["img"]):
                pass
        assert (refused.value.code, refused.value.field) == (ErrorCode.PAYLOAD_TOO_LARGE, "img")
        assert "at most 1024 bytes long, got 1025" in refused.value.message

    asyncio.run(run())


class Pictures(Body):
    pictures: list[str]


def test_long_json_is_parsed_beside_the_event_loop() -> None:
    async def run() -> None:
        uploads = small_memory()
        picture = "A" * 8 * MIB
        beats = 0

        async def beat() -> None:
            nonlocal beats
            while True:
                await asyncio.sleep(0)
                beats += 1

        beating = asyncio.create_task(beat())
        body = await uploads.parse(Pictures, f'{{"pictures": ["{picture}"]}}'.encode())
        beating.cancel()
        assert body.pictures == [picture]
        assert beats

    asyncio.run(run())


def test_long_json_has_few_elements() -> None:
    async def run() -> None:
        uploads = small_memory()
        hostile = b'{"pictures": [' + b"{}," * 3_000_000 + b"{}]}"
        started = time.monotonic()
        with pytest.raises(RequestError) as refused:
            await uploads.parse(Pictures, hostile)
        assert refused.value.code is ErrorCode.PAYLOAD_TOO_LARGE
        # Parsing it takes twenty seconds.
        assert time.monotonic() - started < 2

    asyncio.run(run())
