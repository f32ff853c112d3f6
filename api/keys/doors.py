"""The doors: which keys open the path of a request, on every host."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from starlette.types import Scope

from api import health, page
from api.keys.scopes import Access
from api.protocols.base import Protocols
from settings import Settings


class Doors:
    """Knows what each path asks for.

    Args:
        protocols: have the endpoints.
        settings: say whether the page is for everybody, and from where measurements are.
    """

    def __init__(self, protocols: Protocols, settings: Settings) -> None:
        self._protocols = protocols
        self._docs = Access.OPEN if settings.public_docs else Access.READ
        self._networks = tuple(ip_network(network) for network in settings.metrics_from)

    def access(self, scope: Scope) -> Access | None:
        """What a request needs; None where there is nothing to be had."""
        path: str = scope["path"]
        if path in health.PROBES:
            return Access.OPEN
        if path == health.METRICS:
            return Access.OPEN if self._is_near(scope) else Access.METRICS
        if path in page.PATHS or path.startswith(f"{page.ASSETS}/"):
            return self._docs
        return self._protocols.access(scope)

    def _is_near(self, scope: Scope) -> bool:
        peer = scope.get("client")
        try:
            address = ip_address(peer[0] if peer else "")
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._networks)
