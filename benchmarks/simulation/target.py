"""The deployment that load is put on: whether it is there, ready, and serves what is asked for."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

ANSWER_SECONDS = 10.0
POLL_SECONDS = 1.0


class Unusable(RuntimeError):
    """No load can be put on it, or nothing can be learnt; the message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment.

    Attributes:
        url: without a trailing slash.
        headers: that go with each request.
    """

    url: str
    headers: Mapping[str, str]

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Unusable(f"{self.url!r} is no address: http://HOST:PORT is wanted")
        if parts.username or parts.query or parts.fragment:
            raise Unusable(f"{parts.hostname}: an address has no password, query or fragment here")

    def wait(self, seconds: float) -> None:
        """Return as soon as it is ready.

        Args:
            seconds: how long it may take.

        Raises:
            Unusable: it is not there, or not ready in time.
        """
        give_up = time.monotonic() + seconds
        while True:
            try:
                self._get("/readyz")
                return
            except Unusable:
                if time.monotonic() >= give_up:
                    raise
            time.sleep(POLL_SECONDS)

    def own_pixels(self, model: str) -> int:
        """The pixels of a picture of the model's own size.

        Raises:
            Unusable: it is not served.
        """
        try:
            models: dict[str, Any] = {
                one["name"]: one["defaults"] for one in json.loads(self._get("/models"))["models"]
            }
            if model in models:
                return int(models[model]["width"]) * int(models[model]["height"])
        except (ValueError, KeyError, TypeError):
            raise Unusable(f"{self.url}/models is not that of this service") from None
        raise Unusable(
            f"{self.url} does not serve {model}: choose with --model from {', '.join(models)}"
        )

    def _get(self, path: str) -> bytes:
        request = Request(f"{self.url}{path}", headers=dict(self.headers))  # noqa: S310
        try:
            with urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
                body: bytes = answer.read()
                return body
        except HTTPError as error:
            raise Unusable(f"{self.url}{path} {_meaning(error.code)}") from None
        except (URLError, OSError, HTTPException) as error:
            reason = error.reason if isinstance(error, URLError) else error
            raise Unusable(f"nothing answers at {self.url}: {reason}") from None


def _meaning(status: int) -> str:
    match status:
        case 401 | 403:
            return f"gives {status}: it wants another key, or one: set API_KEY"
        case 404:
            return "gives 404: this is another service, or it has another path"
        case 503:
            return "gives 503: the service is not ready; --wait SECONDS waits for it"
        case _:
            return f"gives {status}"
