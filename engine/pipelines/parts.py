"""The parts that a latent diffusion model is made of, beside its autoencoder: text and denoiser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

import torch

from contract.request import GenerationRequest
from engine.denoising.conditioning import Conditioning
from engine.lora.adapter import LoraSet
from engine.pipelines.skipped_layers import Skipped

# Latents, timesteps, conditioning, layers that rows leave out: the prediction.
Predict: TypeAlias = Callable[[torch.Tensor, torch.Tensor, Conditioning, Skipped], torch.Tensor]


# Makes of a denoiser what is called in its place.
Compiler: TypeAlias = Callable[[Any], Any]


def eager(denoiser: Any) -> Any:
    """The compiler that leaves a denoiser as it is."""
    return denoiser


class TokenRows(Protocol):
    """Where the tokens of each row are, in a pass over pictures of different sizes."""

    @property
    def tokens(self) -> Sequence[slice]:
        """Those of each row."""
        ...


class PackedDenoiser(Protocol):
    """Makes passes over pictures of different sizes, whose tokens are behind one another."""

    def packs(self, path: str) -> bool:
        """Whether the first dimension of a layer's input is the token; else it is the row."""
        ...

    def packing(self, latents: Sequence[torch.Tensor]) -> TokenRows:
        """The order of the tokens of ``latents``, see ``predict``."""
        ...

    def predict(
        self,
        latents: Sequence[torch.Tensor],
        times: torch.Tensor,
        conditioning: Conditioning,
        skipped: Skipped,
    ) -> list[torch.Tensor]:
        """The predictions for latents ``[rows, channels, height, width]`` of each size.

        Args:
            times: ``[all rows]``; likewise the conditioning's tensors.
        """
        ...


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
        predict: calls it with rows ``[rows, channels, height, width]``, their timesteps ``[rows]``,
            their conditioning, and the layers that some of them leave out.
        layers: how many there are that skip-layer guidance may leave out.
        longest_side: latents along a side that it can take at most; None for any number.
        packed: makes passes over several sizes; None where one pass has one size.
    """

    module: Any
    component: str
    predict: Predict
    layers: int = 0
    longest_side: int | None = None
    packed: PackedDenoiser | None = None
