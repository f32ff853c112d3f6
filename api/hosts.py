"""Hosts: the names that the service answers to, as a defence against DNS rebinding.

A page on ``evil.example`` can have that name resolve to the address of the service, and its browser
then counts the service as the page's own site. The name stays in the Host header.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
from collections.abc import Sequence
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import shown
from contract.errors import ErrorCode, RequestError

logger = logging.getLogger(__name__)

# RFC 3986, section 3.2.2, without the escapes that no client sends.
_HOST = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._~-]+))(?::[0-9]{0,5})?", re.ASCII
)
_ANY: Final = "*"
_LOCAL: Final = "localhost"


class HostGate:
    """Middleware that refuses requests for names which are not the service's.

    ``localhost`` and the names below it, IP addresses and the machine's own name are always let in:
    nobody else has a say in what they resolve to. Where nothing is allowed beside them, that holds
    for connections over a loopback address; over others any name is let in, as load balancers
    and orchestrators choose their own.

    It raises ``RequestError``: INVALID_REQUEST for a Host header that is repeated, malformed or,
    from HTTP/1.1 on, missing; FORBIDDEN for another name.

    Args:
        app: the application.
        allowed: further names, in lower case; ``*.example.com`` stands for all below
            ``example.com``, ``*`` for any.
    """

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        self._app = app
        self._allowed = frozenset(allowed)
        self._own = socket.gethostname().lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._check(scope)
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        hosts = Headers(scope=scope).getlist("host")
        if not hosts and scope.get("http_version") == "1.0":
            # It has none, and no browser speaks it: probes of load balancers do.
            return
        if len(hosts) != 1:
            message = f"there must be one Host header, got {len(hosts)}"
            raise RequestError(ErrorCode.INVALID_REQUEST, message, field="Host")
        (host,) = hosts
        parts = _HOST.fullmatch(host)
        if parts is None:
            message = f"Host must be a name or an IP address, got {shown(host)}"
            raise RequestError(ErrorCode.INVALID_REQUEST, message, field="Host")
        name = parts["v6"] or parts["name"].lower().removesuffix(".")
        if not self._is_local(name) and not self._is_allowed(name, scope):
            logger.info("refused: the host %s is not one of SD_ALLOWED_HOSTS", shown(host))
            raise RequestError(
                ErrorCode.FORBIDDEN,
                "Host must be localhost, an IP address, this machine's name or, as behind a "
                f"reverse proxy that passes its own on, one of SD_ALLOWED_HOSTS, got {shown(host)}",
                field="Host",
            )

    def _is_local(self, name: str) -> bool:
        return name in {_LOCAL, self._own} or name.endswith(f".{_LOCAL}") or _is_address(name)

    def _is_allowed(self, name: str, scope: Scope) -> bool:
        if not self._allowed:
            return not _over_loopback(scope)
        if _ANY in self._allowed or name in self._allowed:
            return True
        labels = name.split(".")
        above = (".".join(labels[position:]) for position in range(1, len(labels)))
        return any(f"*.{domain}" in self._allowed for domain in above)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _over_loopback(scope: Scope) -> bool:
    """Whether the connection came in over a loopback address: ``server`` is the socket's own."""
    server = scope.get("server")
    if server is None or not _is_address(server[0]):
        return False
    address = ipaddress.ip_address(server[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback
