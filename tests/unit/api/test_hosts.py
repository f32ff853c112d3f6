from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from pydantic import ValidationError

from api.hosts import HostGate
from contract.errors import ErrorCode, RequestError
from settings import Settings

LOOPBACK = ("127.0.0.1", 3000)
NETWORK = ("10.0.0.7", 3000)


def refusal(
    *hosts: str,
    server: Any = LOOPBACK,
    allowed: tuple[str, ...] = (),
    version: str = "1.1",
) -> RequestError | None:
    """What the gate says to a request with these Host headers."""
    served = False

    async def app(*_: Any) -> None:
        nonlocal served
        served = True

    async def unread() -> Any:
        raise AssertionError("the body must not be read")

    async def send(_: Any) -> None:
        raise AssertionError("the gate sends nothing")

    headers = [(b"host", host.encode("latin-1")) for host in hosts]
    scope = {"type": "http", "server": server, "headers": headers, "http_version": version}
    error: RequestError | None
    try:
        asyncio.run(HostGate(app, allowed)(scope, unread, send))
    except RequestError as raised:
        error = raised
    else:
        error = None
    assert served is (error is None)
    return error


@pytest.mark.parametrize("host", ["evil.test", "localhost.evil.test", "127.0.0.1.evil.test", "x"])
@pytest.mark.parametrize(
    "server", [LOOPBACK, ("127.8.9.10", 1), ("::1", 1), ("::ffff:127.0.0.1", 1)]
)
def test_names_of_others_over_loopback(host: str, server: Any) -> None:
    for port in ("", ":3000"):
        error = refusal(host + port, server=server)
        assert error is not None
        assert error.code is ErrorCode.FORBIDDEN
        assert error.field == "Host"
        assert "SD_ALLOWED_HOSTS" in error.message
        assert host in error.message


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LocalHost:3000", "localhost.", "a.b.localhost", "127.0.0.1:3000"),
        *("0.0.0.0", "10.0.0.7:80", "[::1]:3000", "[fe80::1]", socket.gethostname()),
    ],
)
@pytest.mark.parametrize("allowed", [(), ("example.com",)])
def test_names_that_are_nobody_elses(host: str, allowed: tuple[str, ...]) -> None:
    assert refusal(host, allowed=allowed) is None
    assert refusal(host, allowed=allowed, server=NETWORK) is None


@pytest.mark.parametrize("server", [NETWORK, ("/run/service.sock", None), None])
def test_any_name_elsewhere_unless_some_are_allowed(server: Any) -> None:
    assert refusal("service.internal", server=server) is None
    assert refusal("service.internal", server=server, allowed=("example.com",)) is not None


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("example.com", ["example.com", "Example.COM:443", "example.com."], ["a.example.com"]),
        ("*.example.com", ["a.example.com", "a.b.example.com"], ["example.com", "aexample.com"]),
        ("*", ["evil.test"], []),
    ],
)
def test_allowed_names(pattern: str, inside: list[str], outside: list[str]) -> None:
    for host in inside:
        assert refusal(host, allowed=(pattern,)) is None
    for host in outside:
        assert refusal(host, allowed=(pattern,)) is not None


@pytest.mark.parametrize(
    "hosts",
    [
        *((), ("localhost", "localhost"), ("localhost", "evil.test"), ("",), ("a b",), ("a/b",)),
        *(("localhost:x",), ("[::1",), ("a@localhost",), ("localhost,evil.test",), ("\xe9",)),
    ],
)
def test_hosts_that_are_none(hosts: tuple[str, ...]) -> None:
    error = refusal(*hosts)
    assert error is not None
    assert error.code is ErrorCode.INVALID_REQUEST


def test_probes_of_http_1_0_need_none() -> None:
    assert refusal(version="1.0") is None
    assert refusal("evil.test", version="1.0") is not None


def test_settings() -> None:
    settings = Settings(
        allowed_hosts=" Example.com, *.example.org,*,10.0.0.1 ",
        allowed_origins="https://Example.com,http://a.test:8080,chrome-extension://abc",
    )
    assert settings.allowed_hosts == ("example.com", "*.example.org", "*", "10.0.0.1")
    assert settings.allowed_origins == (
        *("https://example.com", "http://a.test:8080", "chrome-extension://abc"),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("allowed_hosts", host) for host in ("http://a.test", "a.test:80", "a.*", "a b", "*.")),
        *(("allowed_origins", origin) for origin in ("*", "null", "a.test", "https://a.test/")),
    ],
)
def test_settings_that_are_none(name: str, value: str) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})  # type: ignore[arg-type]
