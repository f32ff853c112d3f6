"""The service's settings: environment variables with the prefix ``SD_``, read once.

BentoML's own knobs (ports, workers, timeouts) stay in ``configuration.yaml``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """What is served, on what, and within which limits. Immutable after the start."""

    model_config = SettingsConfigDict(env_prefix="SD_", frozen=True, extra="forbid")

    models: Annotated[tuple[str, ...], NoDecode] = Field(
        ("embedded",),
        min_length=1,
        description="Catalog names of the served models, comma-separated; the first is the default",
    )
    catalog: Path | None = Field(
        None, description="YAML file with catalog entries of your own, added to the built-in ones"
    )
    precision: Literal["auto", "fp32", "fp16", "bf16"] = Field(
        "auto", description="auto is fp16 on CUDA and fp32 on a CPU"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto is CUDA where there is a GPU; BentoML gives each worker its own"
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="CPU threads of the denoiser; default: one or all, whichever is faster",
    )

    max_batch_pixels: int = Field(
        8 * 1024 * 1024,
        ge=64 * 64,
        description="Rows x pixels that one denoiser pass may hold",
    )
    max_batch_rows: int = Field(16, ge=2, le=1024, description="Rows that one pass may hold")
    max_queue: int = Field(64, ge=1, le=100_000, description="Jobs accepted and not yet finished")
    deadline: float = Field(300.0, gt=0, le=3600, description="Seconds a request may take")
    drain: float = Field(
        120.0, ge=0, le=3600, description="Seconds that in-flight work gets after SIGTERM"
    )

    max_prompt_chars: int = Field(2_000, ge=1, le=100_000)
    min_side: int = Field(64, ge=8, description="Pixels")
    max_side: int = Field(2_048, ge=64, description="Pixels")
    max_pixels: int = Field(2_400_000, ge=64 * 64, description="width x height of a picture")
    max_steps: int = Field(150, ge=1, le=1000)
    max_images: int = Field(8, ge=1, le=64, description="Pictures per request")
    max_body_bytes: int = Field(12 * 1024 * 1024, ge=1024, description="Request body")
    max_input_pixels: int = Field(16_000_000, ge=64 * 64, description="Pixels of an input image")

    log_format: Literal["plain", "json"] = "plain"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("models", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value
