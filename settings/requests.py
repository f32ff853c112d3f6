"""What a client may ask for, and how much may wait."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, Field

# Of a picture, on the fastest device, unless SD_MAX_PIXELS says otherwise.
MOST_PIXELS: Final = 2_400_000


class RequestSettings(BaseModel):
    """Limits of a request's fields and pictures, of the queue, and of time."""

    max_queue: int = Field(64, ge=1, le=100_000, description="Jobs accepted and not yet finished")
    max_queue_per_client: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="The same for one client, which is an address (IPv6: a /64 network); default: "
        "three quarters of SD_MAX_QUEUE, and at least SD_MAX_IMAGES",
    )
    max_classifications: int = Field(
        128, ge=1, le=100_000, description="Classifications accepted and not yet finished"
    )
    deadline: float = Field(300.0, gt=0, le=3600, description="Seconds a request may take")
    drain: float = Field(
        120.0, ge=0, le=3600, description="Seconds that in-flight work gets after SIGTERM"
    )
    max_loras: int = Field(4, ge=1, le=64, description="LoRAs per request")
    max_prompt_chars: int = Field(2_000, ge=1, le=100_000)
    min_side: int = Field(64, ge=8, description="Pixels")
    max_side: int = Field(2_048, ge=64, description="Pixels")
    max_pixels: int | None = Field(
        None,
        ge=64 * 64,
        description="width x height of a picture; default: for each model what it does in "
        "SD_MAX_PASS_SECONDS, at least about its own size, and at most 2,400,000",
    )
    max_steps: int = Field(150, ge=1, le=1000)
    max_images: int = Field(8, ge=1, le=64, description="Pictures per request")
    max_input_pixels: int = Field(16_000_000, ge=64 * 64, description="Pixels of an input image")
    decode_seconds: float = Field(
        10.0, gt=0, le=600, description="Seconds that decoding the pictures of a request may take"
    )

    @property
    def places_per_client(self) -> int:
        """Jobs of one client that are accepted and not yet finished."""
        if self.max_queue_per_client is not None:
            return self.max_queue_per_client
        return max(self.max_images, self.max_queue * 3 // 4)

    @property
    def most_pixels(self) -> int:
        """Of a picture with any model; a model may do less (``max_pass_seconds``)."""
        return MOST_PIXELS if self.max_pixels is None else self.max_pixels
