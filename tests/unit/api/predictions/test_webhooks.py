"""Webhooks: signed, delivered at last, and never to where they must not go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from api.predictions.guard import Guard, is_public
from api.predictions.outbox import DeliveryState
from api.predictions.prediction import WebhookEvent
from api.predictions.webhooks import DeliveryError, Webhooks
from contract.errors import RequestError
from tests.unit.api.conftest import ColourBackend
from tests.unit.api.predictions.conftest import make_order, running


class Receiver:
    """Notes what it gets; answers with the next status, or 204."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], str]] = []
        self.statuses: list[int] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.got.append((dict(request.headers), await request.text()))
        status = self.statuses.pop(0) if self.statuses else 204
        headers = {"Location": "/elsewhere"} if status == 302 else {}
        return web.Response(status=status, headers=headers)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", receiver.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    receiver.url = f"http://127.0.0.1:{port}/told"
    yield receiver
    await runner.cleanup()


def test_the_last_one_is_tried_until_it_arrives(usual_url: str, tmp_path: Path) -> None:
    """Also by the next process; each attempt has the same id, and a signature of the tenant."""

    async def story() -> None:
        options: dict[str, Any] = {
            "webhook_receivers": ("127.0.0.0/8",),
            "webhook_retry_seconds": 0.05,
        }
        async with receiving() as receiver:
            receiver.statuses = [500, 302, 200]
            async with running(usual_url, tmp_path, ColourBackend(), **options) as here:
                order = make_order(webhook=receiver.url, webhook_events=(WebhookEvent.COMPLETED,))
                accepted, _ = await here.accept(order)
                done = await here.wait(accepted, 30)
                while not receiver.got:
                    await asyncio.sleep(0.02)
            async with running(usual_url, tmp_path, ColourBackend(), **options) as there:
                while len(receiver.got) < 3:
                    await asyncio.sleep(0.02)
                while (found := await there.outbox.page("anna", None, 9))[0].state == "pending":
                    await asyncio.sleep(0.02)
                key = there.webhooks.signing_key("anna")
                assert key != there.webhooks.signing_key("bert")
                for headers, text in receiver.got:
                    body = Webhook(key).verify(text, headers)
                    assert (body["id"], body["status"]) == (done.id, "succeeded")
                with pytest.raises(WebhookVerificationError):
                    Webhook(there.webhooks.signing_key("bert")).verify(text, headers)
                ids = {_header(headers, "webhook-id") for headers, _ in receiver.got}
                assert ids == {found[0].id}
                await there.resend("anna", found[0].id)
                while len(receiver.got) < 4:
                    await asyncio.sleep(0.02)
                with pytest.raises(RequestError, match="there is no delivery"):
                    await there.resend("bert", found[0].id)

    asyncio.run(story())


def test_after_twelve_attempts_it_is_dead(tmp_path: Path) -> None:
    async def story() -> None:
        url = f"sqlite:///{tmp_path}/one.sqlite"
        options: dict[str, Any] = {
            "webhook_receivers": ("127.0.0.1",),
            "webhook_retry_seconds": 0.0001,
        }
        async with (
            receiving() as receiver,
            running(url, tmp_path, ColourBackend(), **options) as here,
        ):
            receiver.statuses = [503] * 12
            order = make_order(webhook=receiver.url, webhook_events=(WebhookEvent.COMPLETED,))
            await here.accept(order)
            while not (dead := await here.outbox.page("anna", DeliveryState.DEAD, 9)):
                here._deliveries.wake()
                await asyncio.sleep(0.02)
            assert (dead[0].attempts, len(receiver.got)) == (12, 12)
            assert dead[0].last_error == "the receiver answered 503"

    asyncio.run(story())


def test_notices_come_before_the_end(tmp_path: Path) -> None:
    async def story() -> None:
        url = f"sqlite:///{tmp_path}/one.sqlite"
        receivers = {"webhook_receivers": ("127.0.0.1",)}
        async with (
            receiving() as receiver,
            running(url, tmp_path, ColourBackend(), **receivers) as here,
        ):
            accepted, _ = await here.accept(make_order(webhook=receiver.url))
            await here.wait(accepted, 30)
            while not any('"succeeded"' in text for _, text in receiver.got):
                await asyncio.sleep(0.02)
            # start and output; two steps within half a second of them are one too many.
            assert len(receiver.got) == 3

    asyncio.run(story())


def test_what_is_connected_to_is_a_public_address() -> None:
    """Whatever the name said before: the address is looked at when the socket is made."""

    async def story() -> None:
        async with receiving() as receiver:
            port = receiver.url.partition("127.0.0.1:")[2]
            webhooks = Webhooks(b"secret", Guard(()))
            for host in ("127.0.0.1", "localhost", "127.1", "2130706433", "[::ffff:127.0.0.1]"):
                with pytest.raises(DeliveryError, match=r"not a public one|no HTTP"):
                    await webhooks.send(f"http://{host}:{port}", "anna", "event", {})
            assert receiver.got == []
            await Webhooks(b"secret", Guard(("localhost",))).send(
                f"http://localhost:{port}", "anna", "event", {}
            )
            assert len(receiver.got) == 1

    asyncio.run(story())


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("10.0.0.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("fd00:ec2::254", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("64:ff9b::808:808", True),
        ("64:ff9b:1::1", False),
        ("2002:7f00:1::", False),
        ("ff02::1", False),
    ],
)
def test_addresses(address: str, public: bool) -> None:
    assert is_public(ip_address(address)) is public


def _header(headers: dict[str, str], name: str) -> str:
    return next(value for key, value in headers.items() if key.lower() == name)
