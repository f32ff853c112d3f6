"""What a job reports while it runs, and the line format in which it crosses processes.

On the wire an event is one line of ASCII JSON: ``{"event": "progress", "step": 3, "total": 20}``.
Every stream ends with exactly one ``Image`` or ``Failed``.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from typing import Any

from engine.errors import ErrorCode, RequestError


@dataclass(frozen=True, slots=True)
class Queued:
    """The job was accepted; ``position`` jobs wait in front of it."""

    position: int


@dataclass(frozen=True, slots=True)
class Progress:
    """``step`` of ``total`` denoiser calls are done."""

    step: int
    total: int


@dataclass(frozen=True, slots=True)
class Image:
    """The finished picture, encoded as a file of ``media_type``."""

    data: bytes
    media_type: str
    width: int
    height: int
    seed: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The job ended without a picture. The fields are those of ``RequestError``."""

    code: ErrorCode
    message: str
    field: str | None = None
    retry_after: float | None = None

    @classmethod
    def from_error(cls, error: RequestError) -> Failed:
        return cls(error.code, error.message, error.field, error.retry_after)

    def to_error(self) -> RequestError:
        return RequestError(self.code, self.message, field=self.field, retry_after=self.retry_after)


Event = Queued | Progress | Image | Failed

_NAMES: dict[type[Event], str] = {
    Queued: "queued",
    Progress: "progress",
    Image: "image",
    Failed: "error",
}
_TYPES = {name: kind for kind, name in _NAMES.items()}


def to_line(event: Event) -> str:
    """Serialise an event as one newline-terminated line of ASCII JSON."""
    fields: dict[str, Any] = asdict(event)
    if isinstance(event, Image):
        fields["data"] = base64.b64encode(event.data).decode("ascii")
    return json.dumps({"event": _NAMES[type(event)], **fields}) + "\n"


def from_line(line: str) -> Event:
    """Parse what ``to_line`` wrote. Raises ``ValueError`` for anything else."""
    fields = json.loads(line)
    try:
        kind = _TYPES[fields.pop("event")]
        if kind is Image:
            fields["data"] = base64.b64decode(fields["data"], validate=True)
        elif kind is Failed:
            fields["code"] = ErrorCode(fields["code"])
        return kind(**fields)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not an event: {line[:80]!r}") from error
