"""The Prefer header: what a client would like of a response (RFC 7240)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

MAX_WAIT_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Preferences:
    """Those that are known here; others are ignored, as are malformed ones.

    Attributes:
        respond_async: whether the client does not want to wait for the work.
        wait: for how many seconds it would, at most 60; None where it does not say.
    """

    respond_async: bool = False
    wait: int | None = None


def preferences(request: Request) -> Preferences:
    """The preferences of a request; of one that is there twice, the first counts."""
    respond_async, wait = False, None
    for part in ",".join(request.headers.getlist("prefer")).split(","):
        name, _, value = part.partition(";")[0].partition("=")
        value = value.strip().strip('"')
        match name.strip().lower():
            case "respond-async":
                respond_async = True
            case "wait" if wait is None and (not value or value.isdecimal()):
                wait = min(int(value[:4]), MAX_WAIT_SECONDS) if value else MAX_WAIT_SECONDS
    return Preferences(respond_async, wait)
