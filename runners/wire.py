"""The line format of events: how they cross from a runner process to the API's.

An event is one line of ASCII JSON: ``{"event": "progress", "step": 3, "total": 20}``. BentoML
carries a runner's stream as text, and cuts it anywhere.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from typing import Any, Final, Literal

from contract.errors import ErrorCode
from contract.events import Event, Failed, Image, Progress, Queued

# What is done with a model, and the line that says that it was.
Action = Literal["load", "unload"]
DONE: Final = "done\n"

_NAMES: dict[type[Event], str] = {
    Queued: "queued",
    Progress: "progress",
    Image: "image",
    Failed: "error",
}
_TYPES = {name: kind for kind, name in _NAMES.items()}
_BINARY = {"data", "preview"}


def to_line(event: Event) -> str:
    """Serialise an event as one newline-terminated line of ASCII JSON."""
    fields: dict[str, Any] = asdict(event)
    for name in _BINARY & fields.keys():
        if fields[name] is not None:
            fields[name] = base64.b64encode(fields[name]).decode("ascii")
    return json.dumps({"event": _NAMES[type(event)], **fields}) + "\n"


def from_line(line: str) -> Event:
    """Parse what ``to_line`` wrote. Raises ``ValueError`` for anything else."""
    fields = json.loads(line)
    try:
        kind = _TYPES[fields.pop("event")]
        for name in _BINARY & fields.keys():
            if fields[name] is not None:
                fields[name] = base64.b64decode(fields[name], validate=True)
        if kind is Image:
            for name in ("warnings", "screening"):
                fields[name] = tuple(fields[name])
        elif kind is Failed:
            fields["code"] = ErrorCode(fields["code"])
        return kind(**fields)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not an event: {line[:80]!r}") from error
