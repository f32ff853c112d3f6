"""The document that keys are stored in: JSON, or lines for an environment variable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict, ValidationError

from api.keys.key import Key
from api.keys.scopes import Scope


class UnusableKeys(ValueError):
    """Keys that cannot be read; the message says why, and nothing of what is in them."""


class Document(BaseModel):
    """All keys of one place."""

    model_config = ConfigDict(extra="forbid")

    keys: list[Key]


def parse(text: str) -> dict[str, Key]:
    """The keys of a document, by their ids.

    Args:
        text: JSON (``{"keys": [{"id": ..., "name": ..., "sha256": ...}]}``), or lines of
            ``ID:SHA256`` or ``ID:SHA256:SCOPE``; those that are empty or begin with ``#`` are left
            out.

    Raises:
        UnusableKeys: it is neither, or an id or a name is there twice.
    """
    try:
        if text.lstrip().startswith("{"):
            keys = Document.model_validate_json(text).keys
        else:
            keys = [_of_line(line) for line in map(str.strip, text.splitlines()) if _counts(line)]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UnusableKeys(f"{where}: {first['msg']}" if where else first["msg"]) from None
    for what in ("id", "name"):
        for value, count in Counter(getattr(key, what) for key in keys).items():
            if count > 1:
                raise UnusableKeys(f"there are {count} keys with the {what} {value}")
    return {key.id: key for key in keys}


def dump(keys: Iterable[Key]) -> str:
    """The document of some keys, as JSON."""
    return Document(keys=list(keys)).model_dump_json(indent=2, exclude_none=True) + "\n"


def line(key: Key) -> str:
    """A key without its limits, as a line."""
    return f"{key.id}:{key.sha256}:{key.scope}"


def named(keys: Mapping[str, Key], name: str) -> Key | None:
    """The key with this name or id."""
    return next((key for key in keys.values() if name in (key.id, key.name)), None)


def _counts(line: str) -> bool:
    return bool(line) and not line.startswith("#")


def _of_line(line: str) -> Key:
    identity, _, rest = line.partition(":")
    sha256, _, scope = rest.partition(":")
    return Key.model_validate(
        {
            "id": identity.strip(),
            "name": identity.strip(),
            "sha256": sha256.strip(),
            "scope": scope.strip() or Scope.GENERATE,
        }
    )
