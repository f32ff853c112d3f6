"""The parts that a latent diffusion model is made of, beside its autoencoder: text and denoiser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

import torch

from contract.request import GenerationRequest
from engine.denoising.conditioning import Conditioning
from engine.lora.adapter import LoraSet

# Latents, timesteps, conditioning: the prediction.
Predict: TypeAlias = Callable[[torch.Tensor, torch.Tensor, Conditioning], torch.Tensor]


class Prompted(NamedTuple):
    """The prompts of a request, encoded.

    Attributes:
        conditioning: one row for the prompt, preceded by one for the negative prompt where the
            request has guidance.
        warnings: what was not done as written, in sentences for the client.
    """

    conditioning: Conditioning
    warnings: tuple[str, ...]


class TextStage(Protocol):
    """What is between a request's prompts and the denoiser."""

    def encode(
        self, requests: Sequence[GenerationRequest], loras: Sequence[LoraSet]
    ) -> list[Prompted]:
        """Encode the prompts of several requests, each with its LoRAs; what is new in one batch."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Denoiser:
    """A denoiser and how it is called.

    Attributes:
        module: takes latents and, at an inpainter's, mask and masked picture; has diffusers'
            ``config``, ``device`` and ``dtype``.
        component: its name in the pipeline.
        predict: calls it with rows ``[rows, channels, height, width]``, their timesteps ``[rows]``
            and their conditioning.
        blocks: that skip-layer guidance may leave out, see ``SkippedLayers``.
        longest_side: latents along a side that it can take at most; None for any number.
    """

    module: Any
    component: str
    predict: Predict
    blocks: Sequence[torch.nn.Module] = ()
    longest_side: int | None = None
