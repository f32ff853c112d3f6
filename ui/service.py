"""The client of the public HTTP API: one for the page, and of it a session for each visitor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import quote

import httpx

from ui.refusal import no_answer
from ui.session import Session

# The service says something every 15 seconds, if only that it is there.
_TIMEOUT: Final = httpx.Timeout(30, connect=5, read=60, pool=None)


class Service:
    """The connections to a service.

    Args:
        url: where it is; paths of the API are below it.
        key: for visitors who have none of their own; None where each needs his own, or none does.
    """

    def __init__(self, url: str, key: str | None = None) -> None:
        self.key = key
        self._http = httpx.AsyncClient(
            base_url=url.rstrip("/"),
            timeout=_TIMEOUT,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
            # Proxies and passwords of the environment are not for the service.
            trust_env=False,
        )

    def session(self, key: str = "", tag: str = "", forwarded: str = "") -> Session:
        """What a visitor does.

        Args:
            key: his own; empty for that of the page.
            tag: the secret of his browser, which tells his predictions from others'.
            forwarded: his address, and those of the proxies on the way, as X-Forwarded-For has it.
        """
        return Session(self._http, key.strip(), self.key, tag, forwarded)

    async def is_ready(self) -> bool:
        """Whether it makes pictures now."""
        try:
            return (await self._http.get("/readyz")).is_success
        except httpx.TransportError:
            return False

    @asynccontextmanager
    async def picture(
        self, identifier: str, index: int, query: str, headers: Mapping[str, str]
    ) -> AsyncIterator[httpx.Response]:
        """The response that is a picture, its body unread; the query signs for it.

        Raises:
            Refusal: the service does not answer.
        """
        path = f"/predictions/{quote(identifier, safe='')}/output/{index}?{query}"
        try:
            async with self._http.stream("GET", path, headers=dict(headers)) as response:
                yield response
        except httpx.TransportError:
            raise no_answer() from None

    async def close(self) -> None:
        """End its connections."""
        await self._http.aclose()
