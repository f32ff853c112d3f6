"""The key: what is stored of it, which is its hash and not itself."""

from __future__ import annotations

import hmac
import re
import secrets
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Final

import limits
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.keys.scopes import Scope

_PREFIX: Final = "sd_"
_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_TEXT = re.compile(r"sd_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", re.ASCII)
# Something to compare with where no key has the id: it shall take the same time.
_NOBODY: Final = sha256(secrets.token_bytes(_SECRET_BYTES)).hexdigest()
_DAY: Final = 24 * 60 * 60
# Each is remembered for the time of the rate.
_MAX_REQUESTS: Final = 10_000


def _rate(text: str) -> str:
    try:
        rate = limits.parse(text)
    except ValueError:
        rate = None
    if rate is None or not 1 <= rate.amount <= _MAX_REQUESTS or rate.get_expiry() > _DAY:
        raise ValueError(
            f"must be such as 60/minute, from 1 to {_MAX_REQUESTS}, and for a day at most"
        )
    return text


class Key(BaseModel):
    """A key as it is stored.

    Attributes:
        id: its first part, by which it is found and known in logs; the tenant of its requests.
        name: for people.
        sha256: hexadecimal hash of the whole key. Of 256 random bits there is nothing to guess, so
            it need not be a slow one.
        scope: what it is for.
        rate: requests in a time; None for no limit. Likewise the others.
        pictures_per_day: pictures a day (UTC).
        pixel_steps_per_day: width x height x steps a day.
        max_queued: pictures accepted and not yet finished, at most what one client may have.
        priority: share of the engine's time, against keys with 1.
        created: when it was made.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^sd_[0-9a-f]{12}$")
    name: str = Field(pattern=r"^[A-Za-z0-9._@-]{1,64}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scope: Scope = Scope.GENERATE
    rate: Annotated[str, AfterValidator(_rate)] | None = None
    pictures_per_day: int | None = Field(None, ge=1, le=10**9)
    pixel_steps_per_day: int | None = Field(None, ge=1, le=10**18)
    max_queued: int | None = Field(None, ge=1, le=100_000)
    priority: int = Field(1, ge=1, le=100)
    created: datetime | None = None


def new_key(name: str, **fields: object) -> tuple[str, Key]:
    """Make a key: the text that its owner gets, and what is stored.

    Args:
        name: for people.
        fields: others of ``Key``.

    Raises:
        pydantic.ValidationError: one of them is out of its range.
    """
    identity = _PREFIX + secrets.token_hex(_ID_BYTES)
    text = f"{identity}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    now = datetime.now(UTC).replace(microsecond=0)
    stored = {"id": identity, "name": name, "sha256": _hash(text), "created": now, **fields}
    return text, Key.model_validate(stored)


def id_of(text: str) -> str | None:
    """The id in a key; None for a text that cannot be one."""
    return text[: len(_PREFIX) + 2 * _ID_BYTES] if _TEXT.fullmatch(text) else None


def matches(text: str, key: Key | None) -> bool:
    """Whether a text is this key, in a time that does not depend on it."""
    expected = _NOBODY if key is None else key.sha256
    return hmac.compare_digest(_hash(text), expected) and key is not None


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()
