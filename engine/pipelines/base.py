"""The interface of a loaded diffusion model, whatever its architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

import PIL.Image
import torch

from contract.request import GenerationRequest, LoraUse, Segment
from engine.denoising.state import DenoisingState, Handover
from engine.lora.adapter import Adapter

NO_ADAPTERS: Final[Mapping[str, Adapter]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class SegmentRequest:
    """One segment of one picture, to be prepared for denoising.

    Attributes:
        request: of one picture.
        segment: the part of its schedule.
        handover: what the segment before has left; None for the first one.
    """

    request: GenerationRequest
    segment: Segment
    handover: Handover | None = None

    @property
    def loras(self) -> tuple[LoraUse, ...]:
        """The LoRAs of this segment."""
        return self.request.loras_of(self.segment)


class DiffusionModel(Protocol):
    """A loaded model: text encoder, denoiser, autoencoder.

    But for ``load_adapter``, every call comes from the engine's thread, inside ``inference_mode``;
    a call of ``forward``, with other states, may come from another thread at the same time.
    """

    @property
    def latent_scale(self) -> int:
        """Pixels of the picture for each latent pixel, along a side."""
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
        self, wanted: Sequence[SegmentRequest], adapters: Mapping[str, Adapter] = NO_ADAPTERS
    ) -> list[DenoisingState]:
        """Encode prompts and pictures, sample the noise, lay out the schedules.

        ``adapters`` has those of the requests' LoRAs, by tag. No other call is in progress.

        The text encoder and the image encoder see what is new to them in one batch each (pictures
        of one size together). An exception fails every request of the call; the engine then tries
        them one by one.

        Raises:
            contract.errors.RequestError: the model cannot do what a request asks for.
        """
        ...

    def forward(self, states: Sequence[DenoisingState], rows: int) -> list[torch.Tensor]:
        """Evaluate the denoiser once for all states (equal ``pass_key``), each at its own timestep,
        in a batch padded to ``rows``, and return each state's prediction after guidance,
        ``[1, channels, height, width]`` in fp32. There is no padding where their sizes differ."""
        ...

    def decode(self, states: Sequence[DenoisingState]) -> list[PIL.Image.Image | ArithmeticError]:
        """The RGB picture of each state's final latents (equal ``shape_key``), or what was wrong
        with it: pixels that are not finite. An exception fails every job of the call."""
        ...

    def preview(self, state: DenoisingState) -> PIL.Image.Image:
        """A rough RGB picture of a running state, one pixel per latent, at next to no cost."""
        ...


class ModelDecorator:
    """Implements ``DiffusionModel`` around another one; what is not overridden is that one's.

    Args:
        model: the one that does the work.
    """

    def __init__(self, model: DiffusionModel) -> None:
        self._model = model

    @property
    def latent_scale(self) -> int:
        return self._model.latent_scale

    def load_adapter(self, folder: Path) -> Adapter:
        return self._model.load_adapter(folder)

    def preview(self, state: DenoisingState) -> PIL.Image.Image:
        return self._model.preview(state)
