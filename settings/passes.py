"""What the engine does in one pass."""

from __future__ import annotations

from pydantic import BaseModel, Field


class PassSettings(BaseModel):
    """Of the passes of a denoiser, and of the picture encoder and decoder."""

    max_batch_pixels: int | None = Field(
        None,
        ge=64 * 64,
        description="Rows x pixels that one denoiser pass may hold; default: what fits into the "
        "GPU's memory, on a CPU 2 Mi (eight rows of 512 x 512)",
    )
    max_batch_rows: int = Field(32, ge=2, le=1024, description="Rows that one pass may hold")
    vae_pixels: int = Field(
        1024 * 1024,
        ge=256 * 256,
        description="Pixels that the picture encoder and decoder take at once: larger batches go "
        "picture by picture, larger pictures in tiles",
    )
    pad_rows: bool | None = Field(
        None,
        description="Pad passes to a few numbers of rows, so that kernels and compiled graphs see "
        "few shapes; default: on a GPU",
    )
    invariant: bool = Field(
        False,
        description="Make passes in blocks of one number of rows: a picture is then bit-identical, "
        "whatever it is batched with",
    )
    mixed_sizes: bool = Field(
        False,
        description="Let pictures of different sizes share a pass of Stable Diffusion 3, whose "
        "denoiser is a transformer; other models go on with one size a pass. Not with SD_INVARIANT "
        "or SD_COMPILE",
    )
    max_pass_seconds: float = Field(
        0.5,
        ge=0.05,
        le=60,
        description="What one denoiser pass may take: it cannot be interrupted, so others wait "
        "that long. A single picture of a model's own size may take longer",
    )
    stuck_seconds: float = Field(
        600.0,
        gt=0,
        description="After so long in one denoiser pass the device counts as lost, and the process "
        "ends",
    )
