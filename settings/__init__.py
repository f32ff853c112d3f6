"""The service's settings: environment variables with the prefix ``SD_``, read once.

Each module has those of one thing. BentoML's own knobs (ports, workers, timeouts) stay in
``configuration.yaml``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from settings.access import AccessSettings
from settings.http import HttpSettings
from settings.models import ModelSettings
from settings.passes import PassSettings
from settings.requests import RequestSettings
from settings.store import NONE, POSTGRESQL, StoreSettings


class Settings(
    AccessSettings,
    HttpSettings,
    RequestSettings,
    PassSettings,
    ModelSettings,
    StoreSettings,
    BaseSettings,
):
    """What is served, on what, and within which limits. Immutable after the start."""

    model_config = SettingsConfigDict(
        env_prefix="SD_",
        frozen=True,
        extra="forbid",
        # What a Bento was built to serve (docs/bento.md); a checkout has no such file, and the
        # environment goes first.
        env_file=Path(__file__).parents[1] / "bento.env",
    )

    log_format: Literal["plain", "json"] = "plain"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_prompts: bool = Field(
        False,
        description="Log the prompts of each request, and the queries of URLs; otherwise neither "
        "is in any line",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in self.pinned_models:
            if name not in self.models:
                raise ValueError(f"pinned_models names {name!r}, which is not one of models")
        for alias in self.model_aliases:
            if alias in self.models:
                raise ValueError(f"model_aliases names {alias!r}, which is one of models itself")
        if self.mixed_sizes and (self.invariant or self.compile != "none"):
            other = "invariant" if self.invariant else f"compile={self.compile}"
            raise ValueError(
                f"mixed_sizes cannot be combined with {other}, which needs passes of few shapes"
            )
        if self.max_images > self.max_queue:
            raise ValueError(
                f"max_images ({self.max_images}) must not exceed max_queue ({self.max_queue})"
            )
        if self.max_bodies_bytes < self.max_body_bytes:
            raise ValueError(
                f"max_bodies_bytes ({self.max_bodies_bytes}) must not be below max_body_bytes "
                f"({self.max_body_bytes})"
            )
        if self.store.startswith(POSTGRESQL) and self.store_pictures is None:
            raise ValueError("store_pictures must say where the pictures are, as store is a server")
        if self.api_keys_in_store and self.store == NONE:
            raise ValueError("api_keys_in_store needs a store, and store is none")
        if self.prediction_seconds < self.picture_seconds:
            raise ValueError(
                f"prediction_seconds ({self.prediction_seconds:g}) must not be below "
                f"picture_seconds ({self.picture_seconds:g})"
            )
        own = self.max_queue_per_client
        if own is not None and not self.max_images <= own <= self.max_queue:
            raise ValueError(
                f"max_queue_per_client ({own}) must be at least max_images ({self.max_images}) and "
                f"at most max_queue ({self.max_queue})"
            )
        return self
