"""Who the client is, whose share of the engine a request takes."""

from __future__ import annotations

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from api import clients
from settings import Settings


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("nobody", "unknown"),
        ("", "unknown"),
    ],
)
def test_an_address_stands_for_its_client(address: str, expected: str) -> None:
    assert clients.identity(address) == expected


async def seen(peer: tuple[str, int] | None, proxies: str, *forwarded: str) -> str:
    """The client of a request, behind uvicorn's own look at the header."""
    found = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with clients.noted(scope):
            found.append(clients.current())

    scope = {
        "type": "http",
        "client": peer,
        "headers": [(b"x-forwarded-for", each.encode()) for each in forwarded],
    }
    trusted = list(Settings(trusted_proxies=proxies).trusted_proxies)
    await ProxyHeadersMiddleware(app, trusted)(scope, None, None)  # type: ignore[arg-type]
    return found[0]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("peer", "proxies", "forwarded", "expected"),
    [
        ("10.0.3.4", "10.0.0.0/16", ("192.0.2.7",), "192.0.2.7"),
        ("10.0.3.4", "10.0.0.0/16", ("198.51.100.1, 192.0.2.7",), "192.0.2.7"),
        ("10.0.3.4", "10.0.0.0/16", ("198.51.100.1", "192.0.2.7, 10.0.9.9"), "192.0.2.7"),
        ("10.0.3.4", "127.0.0.1", ("192.0.2.7",), "10.0.3.4"),
        ("10.0.3.4", "10.0.0.0/16", ("<script>",), "unknown"),
        ("10.0.3.4", "10.0.0.0/16", (), "10.0.3.4"),
        ("127.0.0.1", "", ("192.0.2.7",), "127.0.0.1"),
    ],
)
async def test_only_a_proxy_that_is_trusted_is_believed(
    peer: str, proxies: str, forwarded: tuple[str, ...], expected: str
) -> None:
    assert await seen((peer, 1234), proxies, *forwarded) == expected


@pytest.mark.anyio
async def test_a_peer_without_an_address_has_no_identity() -> None:
    assert await seen(None, "127.0.0.1") == ""
    assert clients.current() == ""
