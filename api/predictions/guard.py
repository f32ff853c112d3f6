"""The guard: where webhooks may go. What counts is the address that is connected to."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final
from urllib.parse import urlsplit

from api.errors import out_of_range

_MAX_URL: Final = 2048
_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")
_LOCALLY_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b:1::/48")

Address = IPv4Address | IPv6Address


class Forbidden(OSError):
    """An address that webhooks may not go to."""


class Guard:
    """Knows the receivers that are trusted.

    Args:
        receivers: hosts and networks that may be private, and spoken to without TLS.
    """

    def __init__(self, receivers: Collection[str]) -> None:
        self._hosts = set()
        self._networks = []
        for receiver in receivers:
            try:
                self._networks.append(ip_network(receiver, strict=False))
            except ValueError:
                self._hosts.add(receiver)

    def check_url(self, url: str) -> None:
        """Check what can be checked without looking the host up.

        Raises:
            RequestError: OUT_OF_RANGE, naming the field ``webhook``.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise out_of_range("webhook", "a URL", url) from None
        if len(url) > _MAX_URL or not url.isascii() or any(ord(one) <= 32 for one in url):
            raise out_of_range("webhook", f"a URL in ASCII of at most {_MAX_URL} characters", url)
        if parts.scheme not in {"http", "https"} or not host or port == 0:
            raise out_of_range("webhook", "an https URL", url)
        if parts.username is not None or parts.password is not None:
            raise out_of_range("webhook", "a URL without a user name or a password", url)
        if self._trusts(host):
            return
        if parts.scheme == "http":
            wanted = "an https URL, unless its host is one of SD_WEBHOOK_RECEIVERS"
            raise out_of_range("webhook", wanted, url)
        address = _literal(host)
        if host == "localhost" or (address is not None and not is_public(address)):
            wanted = "at a public address, unless it is one of SD_WEBHOOK_RECEIVERS"
            raise out_of_range("webhook", wanted, url)

    def socket_factory(self, host: str) -> Any:
        """Makes the sockets for connections to a host: none for an address that is forbidden."""

        def make(info: tuple[Any, ...]) -> socket.socket:
            family, kind, protocol, _, where = info
            address = ip_address(where[0].partition("%")[0])
            if not (host in self._hosts or self._contains(address) or is_public(address)):
                raise Forbidden("the receiver's address is not a public one")
            return socket.socket(family=family, type=kind, proto=protocol)

        return make

    def _trusts(self, host: str) -> bool:
        address = _literal(host)
        return host in self._hosts or (address is not None and self._contains(address))

    def _contains(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet, and no other one in disguise."""
    if isinstance(address, IPv6Address):
        hidden = address.ipv4_mapped or address.sixtofour
        if hidden is None and address.teredo is not None:
            hidden = address.teredo[1]
        if hidden is None and address in _TRANSLATED:
            hidden = IPv4Address(int(address) & 0xFFFFFFFF)
        if address in _LOCALLY_TRANSLATED:
            return False
        if hidden is not None:
            return is_public(hidden)
    return address.is_global and not address.is_multicast


def _literal(host: str) -> Address | None:
    """The address that a host is written as, in any way that resolvers read."""
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        # 127.1, 0x7f.1 and 2130706433 are addresses too.
        return IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeEncodeError, ValueError):
        return None
