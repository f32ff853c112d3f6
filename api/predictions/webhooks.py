"""Webhooks: signed as Standard Webhooks has it, and sent where the guard lets them go.

https://www.standardwebhooks.com
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from standardwebhooks import Webhook

from api.predictions.guard import Guard
from api.version import VERSION

_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
_MAX_HEAD: Final = 8190


class DeliveryError(Exception):
    """A webhook did not arrive; says why, in words for its owner."""


class Webhooks:
    """Sends webhooks.

    Args:
        secret: of the service: each tenant has one of its own, made of it.
        guard: says where they may go.
    """

    def __init__(self, secret: bytes, guard: Guard) -> None:
        self._secret = secret
        self._guard = guard

    def signing_key(self, tenant: str) -> str:
        """The secret of a tenant, ``whsec_...``, by which it can tell our webhooks from others'."""
        digest = hmac.new(self._secret, f"webhook\n{tenant}".encode(), hashlib.sha256).digest()
        return f"whsec_{base64.b64encode(digest).decode()}"

    async def send(self, url: str, tenant: str, event: str, body: dict[str, Any]) -> None:
        """Send one.

        Args:
            url: where to.
            tenant: signs it.
            event: its id, the same for each attempt.
            body: becomes JSON.

        Raises:
            DeliveryError: it has not arrived, or was not accepted.
        """
        text = json.dumps(body)
        now = datetime.now(UTC)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"stable-diffusion/{VERSION}",
            "webhook-id": event,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(self.signing_key(tenant)).sign(event, now, text),
        }
        host = (urlsplit(url).hostname or "").lower()
        # Each with a connector of its own: a pooled connection would be no connection to check.
        connector = aiohttp.TCPConnector(
            force_close=True, socket_factory=self._guard.socket_factory(host)
        )
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector,
                    timeout=_TIMEOUT,
                    max_line_size=_MAX_HEAD,
                    max_field_size=_MAX_HEAD,
                    cookie_jar=aiohttp.DummyCookieJar(),
                ) as session,
                # The answer's body is not read, and redirects could lead anywhere.
                session.post(url, data=text, headers=headers, allow_redirects=False) as response,
            ):
                if not 200 <= response.status < 300:
                    raise DeliveryError(f"the receiver answered {response.status}")
        except TimeoutError:
            raise DeliveryError("the receiver did not answer within 10 seconds") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise DeliveryError(_reason(error)) from error


def _reason(error: Exception) -> str:
    """Why a connection failed, without what is not the owner's business."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "the receiver's name is unknown"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return "the receiver's certificate is not accepted"
        case aiohttp.ClientConnectorError():
            return "the receiver cannot be connected to, or its address is not a public one"
        case _:
            return f"the receiver's answer is no HTTP, or none ({type(error).__name__})"
