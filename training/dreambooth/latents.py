"""Pictures as the VAE sees them, computed once: training then runs on plain tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from diffusers import DiffusionPipeline
from PIL import Image
from torch import Tensor

from training.dreambooth.chance import chance
from training.dreambooth.text import Prompts

# A VAE takes 3 kB and more for a pixel.
VAE_PIXELS: Final = 1024 * 1024
_CHUNK: Final = 8


@dataclass(frozen=True, slots=True)
class Material:
    """N pictures with what the denoiser is told about each.

    Attributes:
        mean: [N, C, height, width], of the scaled latents' distributions.
        deviation: likewise.
        prompts: of these pictures, and perhaps others.
        rows: [N], each picture's row of ``prompts``.
        told: what else the denoiser is told, by the names of its inputs, [N, ...] each.
    """

    mean: Tensor
    deviation: Tensor
    prompts: Prompts
    rows: Tensor
    told: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.mean)

    def draw(
        self, first: int, count: int, seed: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Samples number ``first`` and following: latents [count, ...], and the pieces of their
        prompts with what else is told, [count, ...] each.

        All pictures come once before any comes again, each time in another order. Both follow
        from the number and the seed, so that a run can go on anywhere.
        """
        pictures = [self._picture(number, seed) for number in range(first, first + count)]
        spread = torch.randn(self.mean[pictures].shape, generator=generator)
        return (
            self.mean[pictures] + self.deviation[pictures] * spread,
            self.prompts.take(self.rows[pictures])
            | {name: values[pictures] for name, values in self.told.items()},
        )

    def _picture(self, number: int, seed: int) -> int:
        epoch, place = divmod(number, len(self))
        order = torch.randperm(len(self), generator=chance("order", seed, epoch))
        return int(order[place])


class LatentScale:
    """Between a VAE's latents and those that the denoiser knows.

    Args:
        config: the VAE's.
    """

    def __init__(self, config: Any) -> None:
        self._factor: float = config.scaling_factor
        self._shift: float | Tensor = config.shift_factor or 0.0
        self._deviation: float | Tensor = 1.0
        # Of some models for each channel.
        if getattr(config, "latents_mean", None) and getattr(config, "latents_std", None):
            self._shift, self._deviation = (
                torch.tensor(values).view(1, -1, 1, 1)
                for values in (config.latents_mean, config.latents_std)
            )

    def scaled(self, latents: Tensor) -> Tensor:
        """As the denoiser knows them."""
        return self.spread(latents - self._shift)

    def spread(self, deviation: Tensor) -> Tensor:
        """Of standard deviations likewise."""
        return deviation / self._deviation * self._factor

    def unscaled(self, latents: Tensor) -> Tensor:
        """As the VAE knows them."""
        return latents / self._factor * self._deviation + self._shift


@torch.no_grad()
def encode(pipeline: DiffusionPipeline, pictures: Sequence[Image.Image]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the latents of pictures of one size, [N, C, height, width], by the VAE
    in fp32.

    In fp16 its activations may be too large (diffusers: ``force_upcast``).
    """
    vae = pipeline.vae
    # Not diffusers' own method, which warns of every conversion.
    torch.nn.Module.to(vae, dtype=torch.float32)
    scale = LatentScale(vae.config)
    chunk = at_once(pictures[0].width * pictures[0].height)
    means, deviations = [], []
    for start in range(0, len(pictures), chunk):
        batch = pipeline.image_processor.preprocess(list(pictures[start : start + chunk]))
        distribution = vae.encode(batch.to(vae.device)).latent_dist
        means.append(scale.scaled(distribution.mean.cpu()))
        deviations.append(scale.spread(distribution.std.cpu()))
    return torch.cat(means), torch.cat(deviations)


@torch.no_grad()
def decode(pipeline: DiffusionPipeline, latents: Tensor) -> list[Image.Image]:
    """Pictures of scaled latents [N, C, height, width], by the VAE in the precision that it has."""
    vae = pipeline.vae
    unscaled = LatentScale(vae.config).unscaled(latents.float().cpu())
    pixels = vae.decode(unscaled.to(vae.device, vae.dtype)).sample
    pictures: list[Image.Image] = pipeline.image_processor.postprocess(pixels, output_type="pil")
    return pictures


def at_once(pixels: int) -> int:
    """How many pictures of so many pixels the VAE takes at a time."""
    return max(1, min(_CHUNK, VAE_PIXELS // pixels))
