"""Who may connect, how many at once, and how much they may send."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints, field_validator

from settings.listed import Listed

# Without a port: that of the service is known.
HostPattern = Annotated[
    str, StringConstraints(to_lower=True, pattern=r"(?i)^(\*|(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*)$")
]
# As browsers write it in the Origin header: without a path, and without the scheme's own port.
Origin = Annotated[
    str,
    StringConstraints(
        to_lower=True,
        pattern=r"(?i)^[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?$",
    ),
]


class HttpSettings(BaseModel):
    """Of connections, of request bodies, and of the hosts, sites and proxies that are trusted."""

    trusted_proxies: Listed[str] = Field(
        ("127.0.0.1", "::1"),
        description="Addresses and networks, comma-separated, of the proxies whose X-Forwarded-For "
        "says who the client is",
    )
    allowed_hosts: Listed[HostPattern] = Field(
        (),
        description="Names in the Host header, comma-separated, beside localhost, IP addresses and "
        "the machine's own name: example.com, *.example.com for all below it, * for any. Default: "
        "none over a loopback address, any over others",
    )
    allowed_origins: Listed[Origin] = Field(
        (),
        description="Other sites whose pages may use the service, comma-separated, such as "
        "https://example.com",
    )
    max_connections: int = Field(
        1000,
        ge=16,
        le=100_000,
        description="Connections open at once; a new one displaces the one that is idle longest",
    )
    head_seconds: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="Seconds in which the head of a request has to arrive: from the connection, "
        "and on a connection that is kept, from its first byte",
    )
    keep_alive_seconds: float = Field(
        # Longer than clients keep a connection in their pools, or requests meet its end: aiohttp
        # 15 s, Java 30 s since 20, AWS's load balancer and .NET 60 s, Go 90 s. (Older Javas keep
        # it for 20 minutes, and requests for good; both look whether it was closed.)
        120.0,
        gt=0,
        le=86_400,
        description="Seconds that a connection is kept between two requests",
    )
    max_body_bytes: int = Field(12 * 1024 * 1024, ge=1024, description="Request body")
    max_json_bytes: int = Field(
        64 * 1024,
        ge=1024,
        le=1024 * 1024,
        description="JSON body, and the part with the fields of a form: it is parsed in one go, "
        "while nothing else is served",
    )
    max_bodies_bytes: int = Field(
        128 * 1024 * 1024,
        ge=1024,
        description="Request bodies in memory, all together; those of one address at most half",
    )
    body_idle_seconds: float = Field(
        10.0, gt=0, le=600, description="Seconds without a byte after which a body is given up"
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            ip_network(proxy)
        return proxies
