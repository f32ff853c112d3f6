"""What the engine asks of an architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

import PIL.Image
import torch

from contract.request import GenerationRequest
from engine.denoising.state import DenoisingState
from engine.lora.adapter import Adapter

NO_ADAPTERS: Final[Mapping[str, Adapter]] = MappingProxyType({})


class DiffusionModel(Protocol):
    """A loaded model. But for ``load_adapter``, every call comes from the engine's thread, inside
    ``inference_mode``; a call of ``forward``, with other states, may come from another thread at
    the same time."""

    @property
    def memory(self) -> int:
        """Bytes of the weights."""
        ...

    def load_adapter(self, folder: Path) -> Adapter:
        """Read a LoRA for this model. May be called from a thread of its own, at any time.

        Args:
            folder: has a ``models.lora.LORA_FILE``.

        Raises:
            models.errors.ModelError: it cannot be used with this model.
        """
        ...

    def prepare(
        self, requests: Sequence[GenerationRequest], adapters: Mapping[str, Adapter] = NO_ADAPTERS
    ) -> list[DenoisingState]:
        """Encode prompts and pictures, draw the noise, lay out the schedules.

        ``adapters`` has those of the requests' LoRAs, by tag. No other call is in progress.

        The text encoder and the image encoder see what is new to them in one batch each (pictures
        of one size together). ``num_images`` is not looked at: one state per request. What raises
        here fails every request of the call; the engine then tries them one by one.

        Raises:
            contract.errors.RequestError: the model cannot do what a request asks for.
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
