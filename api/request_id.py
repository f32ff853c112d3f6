"""The name of the request being served, for responses and log lines."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar

# A context variable reaches every coroutine and worker thread of a request, so that log lines
# from libraries carry the id as well.
current: ContextVar[str] = ContextVar("request_id", default="-")

_VALID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


def choose(offered: str | None) -> str:
    """Take the client's own id where it is safe to print anywhere, else make a new one."""
    if offered is not None and _VALID.fullmatch(offered):
        return offered
    return uuid.uuid4().hex
