"""The key gate: who has no key stays outside."""

from __future__ import annotations

import logging

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import clients
from api.keys import current, quotas
from api.keys.credentials import WAYS, presented
from api.keys.doors import Doors
from api.keys.failures import Failures
from api.keys.key import Key, id_of
from api.keys.metering import Metering
from api.keys.ring import Keyring
from api.keys.scopes import Access
from api.protocols.base import Protocols
from contract.errors import ErrorCode, RequestError
from settings import Settings

logger = logging.getLogger(__name__)


class KeyGate:
    """Middleware that lets in requests with a key that opens their path, body unread, and tells
    in the response how its quotas stand.

    It raises ``RequestError``: UNAUTHORIZED without a key or with a wrong one, BUSY after too many
    of these. What it refuses a key of its own it responds to itself: FORBIDDEN for its scope, BUSY
    above its rate.

    Args:
        app: the application.
        keys: those that there are.
        metering: counts the requests.
        protocols: render the refusals.
        settings: say what needs no key.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Keyring,
        metering: Metering,
        protocols: Protocols,
        settings: Settings,
    ) -> None:
        self._app = app
        self._keys = keys
        self._metering = metering
        self._protocols = protocols
        self._doors = Doors(protocols, settings)
        self._failures = Failures()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # No path speaks WebSocket: the router refuses those.
        access = self._doors.access(scope) if scope["type"] == "http" else Access.OPEN
        if access is Access.OPEN:
            await self._app(scope, receive, send)
            return
        key = await self._authenticated(scope)

        async def send_with_quotas(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(quotas.headers(self._metering.left(key)))
            await send(message)

        with current.noted(key):
            try:
                self._admit(key, access, scope)
            except RequestError as error:
                response = self._protocols.error_response(scope, error)
                await response(scope, receive, send_with_quotas)
                return
            await self._app(scope, receive, send_with_quotas)

    async def _authenticated(self, scope: Scope) -> Key:
        text = presented(Headers(scope=scope))
        if text is None:
            raise RequestError(ErrorCode.UNAUTHORIZED, f"an API key is needed: send it {WAYS}")
        key = await self._keys.find(text)
        if key is not None:
            return key
        address = clients.current()
        wait = self._failures.note(address)
        if wait is not None:
            raise RequestError(
                ErrorCode.BUSY, "too many wrong API keys from this address", retry_after=wait
            )
        logger.warning("refused: a wrong API key (%s) from %s", id_of(text) or "no id", address)
        raise RequestError(
            ErrorCode.UNAUTHORIZED, "the API key is not one of this service, or was revoked"
        )

    def _admit(self, key: Key, access: Access | None, scope: Scope) -> None:
        # Of a path that is not there no more can be said than that.
        if access is not None and key.scope not in access.scopes:
            raise RequestError(
                ErrorCode.FORBIDDEN,
                f"{scope['method']} {scope['path']} needs a key of the scope "
                f"{' or '.join(access.scopes)}, and this one has {key.scope}",
            )
        self._metering.take_request(key)
