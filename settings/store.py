"""Where predictions are kept, how long, and how they are run and reported."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ByteSize, Field, StringConstraints

from settings.listed import Listed

AUTO: Final = "auto"
NONE: Final = "none"
POSTGRESQL: Final = "postgresql+asyncpg://"

_DAY: Final = 24 * 3600.0

WebhookReceiver = Annotated[
    str, StringConstraints(to_lower=True, pattern=r"(?i)^[a-z0-9_.:-]+(/[0-9]{1,3})?$")
]


class StoreSettings(BaseModel):
    """Of predictions: their store, their worker, their retention and their webhooks."""

    store: str = Field(
        AUTO,
        pattern=r"^(auto|none|/.*|postgresql\+asyncpg://.+)$",
        description="Where predictions are kept (docs/predictions.md): a folder, with SQLite in "
        "it; postgresql+asyncpg://user:password@host/database, which several hosts can share; "
        "none; auto: a folder stable-diffusion in $XDG_STATE_HOME, by default ~/.local/state",
    )
    store_pictures: str | None = Field(
        None,
        pattern=r"^(s3://[^/]+.*|/.*)$",
        description="Where their pictures are kept: a folder, or s3://bucket/prefix "
        "(requirements-s3.txt); default: pictures in the folder of SD_STORE",
    )
    store_bytes: ByteSize = Field(
        ByteSize(10 * 1024**3),
        ge=1024**2,
        description="What the pictures of predictions may take together; those of the oldest that "
        "are finished are deleted first, those of unfinished ones never",
    )
    store_free_bytes: ByteSize = Field(
        ByteSize(256 * 1024**2),
        description="What stays free on the disk: no prediction is accepted below that",
    )
    picture_seconds: float = Field(
        _DAY,
        ge=1,
        le=3650 * _DAY,
        description="How long the pictures of a finished prediction are kept",
    )
    prediction_seconds: float = Field(
        7 * _DAY,
        ge=1,
        le=3650 * _DAY,
        description="How long a finished prediction itself is kept, at least its pictures' time",
    )
    link_seconds: float = Field(
        3600.0, ge=1, le=365 * _DAY, description="How long a signed link to a picture is valid"
    )
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^/?#\s]+(/[^?#\s]*[^/?#\s])?$",
        description="What links in answers begin with, such as https://pictures.example.com; "
        "default: where the request was sent to",
    )
    max_predictions: int = Field(
        10_000, ge=1, le=10_000_000, description="Predictions accepted and not yet finished"
    )
    max_predictions_per_client: int | None = Field(
        None,
        ge=1,
        le=10_000_000,
        description="The same for one client; default: three quarters of SD_MAX_PREDICTIONS",
    )
    prediction_slots: int = Field(
        16,
        ge=0,
        le=100_000,
        description="Pictures of predictions that this process has in the engine at once; with 0 "
        "it accepts predictions, and leaves them to others that share the store",
    )
    prediction_attempts: int = Field(
        10,
        ge=1,
        le=1000,
        description="How often a prediction is begun; it fails when the process that runs it has "
        "died so often",
    )
    prediction_lease: float = Field(
        20.0,
        ge=1,
        le=3600,
        description="Seconds after the last sign of life until another process takes a prediction "
        "over",
    )
    webhook_receivers: Listed[WebhookReceiver] = Field(
        (),
        description="Hosts and networks, comma-separated, that webhooks may go to by http and at "
        "private addresses, such as receiver.internal,10.1.0.0/16; all others need https and a "
        "public address",
    )
    webhook_retry_seconds: float = Field(
        5.0,
        gt=0,
        le=3600,
        description="Seconds until a webhook is sent for the second time; the wait doubles up to "
        "the twelfth",
    )

    @property
    def predictions_per_client(self) -> int:
        """Predictions of one client that are accepted and not yet finished."""
        if self.max_predictions_per_client is not None:
            return self.max_predictions_per_client
        return max(1, self.max_predictions * 3 // 4)

    @property
    def store_folder(self) -> Path | None:
        """The folder of ``SD_STORE``, with ``auto`` resolved; None where there is none."""
        if self.store == AUTO:
            state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
            return Path(state).expanduser() / "stable-diffusion"
        return Path(self.store) if self.store.startswith("/") else None
