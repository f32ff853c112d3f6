"""What the engine asks of an architecture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import PIL.Image
import torch

from engine.request import GenerationRequest
from engine.state import DenoisingState


class Family(Protocol):
    """A loaded model. Every call comes from the engine's thread, inside ``inference_mode``; a call
    of ``forward``, with other states, may come from another thread at the same time."""

    @property
    def memory(self) -> int:
        """Bytes of the weights."""
        ...

    def prepare(self, requests: Sequence[GenerationRequest]) -> list[DenoisingState]:
        """Encode prompts and pictures, draw the noise, lay out the schedules.

        The text encoder and the image encoder see what is new to them in one batch each (pictures
        of one size together). ``num_images`` is not looked at: one state per request. What raises
        here fails every request of the call; the engine then tries them one by one.

        Raises:
            engine.errors.RequestError: the model cannot do what a request asks for.
        """
        ...

    def forward(self, states: Sequence[DenoisingState], rows: int) -> list[torch.Tensor]:
        """Evaluate the denoiser once for all states (equal ``shape_key``), each at its own
        timestep, in a batch padded to ``rows``, and return each state's guided prediction
        ``[1, channels, height, width]``."""
        ...

    def decode(self, states: Sequence[DenoisingState]) -> list[PIL.Image.Image]:
        """Turn final latents (equal ``shape_key``) into RGB pictures. What raises here fails every
        job of the call; the engine then tries fewer."""
        ...

    def preview(self, state: DenoisingState) -> PIL.Image.Image:
        """A rough RGB picture of a running state, one pixel per latent, at next to no cost."""
        ...
