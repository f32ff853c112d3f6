from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from api import admission
from api.drain import Drain, DrainGate
from api.middleware import RequestIdentity
from settings import Settings
from tests.unit.api.conftest import ColourBackend, native_protocols

PROTOCOLS = native_protocols(ColourBackend(), Settings())


async def call(app: ASGIApp, path: str = "/txt2img") -> list[MutableMapping[str, Any]]:
    """Make a request; returns the messages of the response."""
    messages: list[MutableMapping[str, Any]] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: MutableMapping[str, Any]) -> None:
        messages.append(message)

    await app({"type": "http", "method": "POST", "path": path, "headers": []}, receive, send)
    return messages


class Slow:
    """Responds once ``release`` is set."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.release.wait()
        await PlainTextResponse("done")(scope, receive, send)


def test_work_in_flight_finishes_and_new_work_is_refused() -> None:
    async def run() -> None:
        drain, slow = Drain(), Slow()
        gate = DrainGate(slow, drain, PROTOCOLS)
        in_flight = asyncio.create_task(call(gate))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        drain.start()
        finishing = asyncio.create_task(drain.finish(60))

        refused = await call(gate)
        assert refused[0]["status"] == 503
        headers = dict(refused[0]["headers"])
        assert headers[b"retry-after"] == b"10"
        assert headers[b"connection"] == b"close"
        assert not finishing.done()

        slow.release.set()
        assert (await in_flight)[0]["status"] == 200
        await finishing

    asyncio.run(run())


def test_what_waits_for_its_admission_is_ended_at_once() -> None:
    async def run() -> None:
        drain, slow = Drain(), Slow()

        async def uploading(scope: Scope, receive: Receive, send: Send) -> None:
            with admission.awaited():
                await slow.release.wait()

        waiting = asyncio.create_task(call(DrainGate(uploading, drain, PROTOCOLS)))
        admitted = asyncio.create_task(call(DrainGate(slow, drain, PROTOCOLS)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        drain.start()
        finishing = asyncio.create_task(drain.finish(60))

        refused = await waiting
        assert refused[0]["status"] == 503
        assert dict(refused[0]["headers"])[b"connection"] == b"close"
        assert not finishing.done()
        slow.release.set()
        assert (await admitted)[0]["status"] == 200
        await finishing

    asyncio.run(run())


def test_nothing_is_admitted_any_more() -> None:
    async def run() -> None:
        drain, slow = Drain(), Slow()

        async def late(scope: Scope, receive: Receive, send: Send) -> None:
            await slow.release.wait()
            with admission.awaited():
                raise AssertionError("must not be reached")

        in_flight = asyncio.create_task(
            call(RequestIdentity(DrainGate(late, drain, PROTOCOLS), PROTOCOLS))
        )
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        drain.start()
        slow.release.set()

        assert (await in_flight)[0]["status"] == 503

    asyncio.run(run())


def test_what_is_late_is_told_so() -> None:
    async def run() -> None:
        drain, slow = Drain(), Slow()
        in_flight = asyncio.create_task(call(DrainGate(slow, drain, PROTOCOLS)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        drain.start()
        await drain.finish(0)

        assert (await in_flight)[0]["status"] == 503

    asyncio.run(run())


def test_a_cancelled_request_cancels_its_work() -> None:
    async def run() -> None:
        drain, slow = Drain(), Slow()
        in_flight = asyncio.create_task(call(DrainGate(slow, drain, PROTOCOLS)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        in_flight.cancel()
        with pytest.raises(asyncio.CancelledError):
            await in_flight
        await drain.finish(60)

    asyncio.run(run())


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/metrics"])
def test_probes_and_metrics_stay_open(path: str) -> None:
    async def run() -> None:
        drain = Drain()
        drain.start()
        answer = await call(DrainGate(PlainTextResponse("ok"), drain, PROTOCOLS), path)
        assert answer[0]["status"] == 200

    asyncio.run(run())


def test_readiness_ends_with_the_drain() -> None:
    async def run() -> None:
        drain = Drain()
        drain.start()
        answer = await call(DrainGate(PlainTextResponse("ok"), drain, PROTOCOLS), "/readyz")
        assert answer[0]["status"] == 503

    asyncio.run(run())
