"""What the engine asks of an architecture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import PIL.Image
import torch

from engine.request import GenerationRequest
from engine.state import DenoisingState


class Family(Protocol):
    """A loaded model. Every call comes from the engine's thread, inside ``inference_mode``."""

    def prepare(self, request: GenerationRequest) -> DenoisingState:
        """Encode the prompts and the init image, draw the noise, lay out the schedule."""
        ...

    def forward(self, states: Sequence[DenoisingState]) -> list[torch.Tensor]:
        """Evaluate the denoiser once for all states (equal ``shape_key``), each at its own
        timestep, and return each state's guided prediction ``[1, channels, height, width]``."""
        ...

    def decode(self, states: Sequence[DenoisingState]) -> list[PIL.Image.Image]:
        """Turn final latents (equal ``shape_key``) into RGB pictures."""
        ...
