"""What a visitor asks of the service."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

import httpx

from ui.prediction import Event, Prediction, events
from ui.refusal import Refusal, keeps_none, no_answer, no_service
from ui.served import Served

_AGAIN_SECONDS: Final = 1.0
_AGAIN_AT_MOST: Final = 120
_PLACE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Label:
    """What the classifier takes a picture for; ``score`` is from 0 to 1."""

    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Reading:
    """The parameters in a picture's file.

    Attributes:
        text: as they stand there; empty where there are none.
        fields: those of ``POST /txt2img`` that make it again, and ``strength`` of one that was made
            from another picture.
        notes: what is not in ``fields``, a sentence each.
    """

    text: str
    fields: Mapping[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """Predictions, the latest first; ``cursor`` is that of the next ones, None at the end."""

    predictions: tuple[Prediction, ...]
    cursor: str | None


class Session:
    """What a visitor asks of the service. Every method raises ``Refusal``.

    With a key of his own he sees all predictions of that key. Without, those of his browser: their
    ids begin with a hash of its tag, as to the service all visitors without keys may be one client.

    Attributes:
        has_own_key: whether he has entered one.
    """

    def __init__(
        self, http: httpx.AsyncClient, key: str, shared: str | None, tag: str, forwarded: str
    ) -> None:
        self._http = http
        self.has_own_key = bool(key)
        self._owner = hashlib.sha256(f"page:{tag}".encode()).hexdigest()[:24] if tag else ""
        self._headers = {"Accept": "application/json"}
        if key or shared:
            self._headers["Authorization"] = f"Bearer {_sendable(key or shared or '')}"
        if forwarded:
            self._headers["X-Forwarded-For"] = forwarded

    async def served(self) -> Served:
        """The models, their defaults and the limits."""
        try:
            return Served.of(await self._json("GET", "/models"))
        except (KeyError, TypeError, ValueError):
            raise no_service() from None
        except Refusal as refusal:
            if refusal.status == 404:
                raise no_service() from None
            raise

    def new_id(self) -> str:
        """An id for a prediction of this visitor."""
        own = self._owner or secrets.token_hex(12)
        return f"{own}-{secrets.token_hex(12)}"

    def id_of(self, purpose: str) -> str:
        """The id of what this visitor has made for a purpose, always the same."""
        own = self._owner or secrets.token_hex(12)
        return f"{own}-{hashlib.sha256(purpose.encode()).hexdigest()[:24]}"

    async def order(
        self,
        fields: Mapping[str, Any],
        *,
        image: bytes | None = None,
        mask: bytes | None = None,
        identifier: str | None = None,
    ) -> Prediction:
        """Order pictures. What has no answer is sent again: it is one prediction all the same.

        Args:
            fields: those of ``POST /txt2img``, ``/img2img`` or ``/inpaint``, by what is given.
            image: a PNG, JPEG or WebP file.
            mask: likewise, white where it is to be inpainted.
            identifier: a ``new_id``.
        """
        given = dict(fields)
        body: dict[str, Any] = {"input": given}
        if (model := given.pop("model", None)) is not None:
            body["model"] = model
        for name, data in (("image", image), ("mask", mask)):
            if data is not None:
                given[name] = base64.b64encode(data).decode("ascii")
        path = f"/predictions/{identifier or self.new_id()}"
        try:
            return Prediction.of(await self._json("PUT", path, json=body, tries=3))
        except Refusal as refusal:
            if refusal.status == 404 and refusal.field is None:
                raise keeps_none() from None
            raise

    async def find(self, identifier: str) -> Prediction:
        """A prediction of this visitor, as it is now."""
        return Prediction.of(await self._json("GET", self._path(identifier)))

    async def cancel(self, identifier: str) -> Prediction:
        """End it, unless it is over."""
        return Prediction.of(await self._json("POST", f"{self._path(identifier)}/cancel"))

    async def delete(self, identifier: str) -> None:
        """Delete it and its pictures; refused unless it is over."""
        await self._send("DELETE", self._path(identifier))

    async def listing(
        self,
        *,
        cursor: str | None = None,
        limit: int = 20,
        status: str | None = None,
        search: str | None = None,
    ) -> Listing:
        """This visitor's predictions, the latest first.

        Args:
            cursor: that of the listing before; None for the first.
            limit: at most 100.
            status: only those.
            search: only those with this text in a prompt.
        """
        if not (self._owner or self.has_own_key):
            return Listing((), None)
        wanted = {
            "cursor": cursor,
            "limit": str(limit),
            "status": status,
            "search": search,
            "id_prefix": None if self.has_own_key else f"{self._owner}-",
        }
        query = {name: value for name, value in wanted.items() if value}
        try:
            page = await self._json("GET", "/predictions", params=query)
        except Refusal as refusal:
            if refusal.status == 404:
                raise keeps_none() from None
            raise
        found = tuple(map(Prediction.of, page["results"]))
        return Listing(found, _cursor(page["next"]))

    async def output(self, identifier: str, index: int) -> bytes:
        """The file of a picture, as the service made it."""
        response = await self._send("GET", f"{self._path(identifier)}/output/{index}")
        return response.content

    async def classify(self, picture: bytes, top_k: int = 5) -> list[Label]:
        """The likeliest labels of a picture file, the best first."""
        body = await self._json(
            "POST", "/classify", params={"top_k": str(top_k)}, files={"img": ("picture", picture)}
        )
        return [Label(one["label"], one["score"]) for one in body["predictions"]]

    async def read(self, picture: bytes) -> Reading:
        """What the file of a picture, of this service or of others, says of its making."""
        image = base64.b64encode(picture).decode("ascii")
        body = await self._json("POST", "/sdapi/v1/png-info", json={"image": image})
        return Reading(body["info"], body["request"], tuple(body["ignored"]))

    async def watch(self, identifier: str) -> AsyncGenerator[Event, None]:
        """What happens to a prediction, from its beginning to ``completed``.

        While it waits, ``prediction`` comes every two seconds, for its place in the queue. Where
        the service is gone, ``lost`` comes, and it is asked again for two minutes.
        """
        path = f"{self._path(identifier)}/events"
        last, lost = None, 0
        while True:
            headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
            try:
                async with (
                    self._stream(path, headers) as response,
                    aclosing(self._with_places(identifier, events(response.aiter_lines()))) as told,
                ):
                    async for event in told:
                        last, lost = event.id or last, 0
                        yield event
                        if event.name == "completed":
                            return
            except httpx.TransportError:
                pass
            except Refusal as refusal:
                if refusal.status is None or refusal.status < 500:
                    raise
            if lost >= _AGAIN_AT_MOST:
                raise no_answer()
            lost += 1
            yield Event("lost", {})
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _with_places(
        self, identifier: str, told: AsyncIterator[Event]
    ) -> AsyncGenerator[Event, None]:
        """The events, and while it waits its place, which they tell but once."""
        waits = True
        coming = asyncio.ensure_future(anext(told, None))
        try:
            while True:
                done, _ = await asyncio.wait([coming], timeout=_PLACE_SECONDS if waits else None)
                if not done:
                    body = await self._json("GET", self._path(identifier))
                    waits = body["status"] == "starting"
                    if waits:
                        yield Event("prediction", body)
                    continue
                event = coming.result()
                if event is None:
                    return
                waits = event.name == "prediction" and event.data["status"] == "starting"
                yield event
                coming = asyncio.ensure_future(anext(told, None))
        finally:
            # It reads from a connection that is closed next.
            coming.cancel()
            await asyncio.wait([coming])

    def _is_own(self, identifier: str) -> bool:
        own = bool(self._owner) and identifier.startswith(f"{self._owner}-")
        return own or self.has_own_key

    def _path(self, identifier: str) -> str:
        if not self._is_own(identifier):
            raise Refusal("There is no such picture of yours.", status=404)
        return f"/predictions/{quote(identifier, safe='')}"

    @asynccontextmanager
    async def _stream(self, path: str, headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        async with self._http.stream("GET", path, headers={**self._headers, **headers}) as response:
            if not response.is_success:
                await response.aread()
                raise Refusal.of(response)
            yield response

    async def _json(self, method: str, path: str, *, tries: int = 1, **options: Any) -> Any:
        return (await self._send(method, path, tries=tries, **options)).json()

    async def _send(
        self, method: str, path: str, *, tries: int = 1, **options: Any
    ) -> httpx.Response:
        try:
            response = await self._http.request(method, path, headers=self._headers, **options)
        except httpx.TransportError as error:
            if tries == 1:
                raise no_answer() from error
            await asyncio.sleep(_AGAIN_SECONDS)
            return await self._send(method, path, tries=tries - 1, **options)
        if not response.is_success:
            raise Refusal.of(response)
        return response


def _sendable(key: str) -> str:
    """A key as a header can have it; what cannot be in one makes it a wrong key."""
    return "".join(one if one.isascii() and one.isprintable() else "?" for one in key)


def _cursor(following: str | None) -> str | None:
    return None if following is None else dict(parse_qsl(urlsplit(following).query)).get("cursor")
