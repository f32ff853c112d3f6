"""Pictures as the VAE sees them, computed once: training then runs on plain tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from torch import Tensor
from transformers import CLIPTokenizer

from training.dreambooth.chance import chance
from training.dreambooth.errors import TrainingError

_CHUNK = 8


@dataclass(frozen=True, slots=True)
class Material:
    """N pictures with what the denoiser is told about each.

    Attributes:
        mean: [N, 4, height, width], of the scaled latents' distributions.
        deviation: likewise.
        conditions: [C, 77] token ids or [C, 77, width] embeddings, of C different prompts.
        prompts: [N], each picture's row of ``conditions``.
    """

    mean: Tensor
    deviation: Tensor
    conditions: Tensor
    prompts: Tensor

    def __len__(self) -> int:
        return len(self.mean)

    def draw(
        self, first: int, count: int, seed: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Samples number ``first`` and following: latents [count, ...], conditions [count, ...].

        All pictures come once before any comes again, each time in another order. Both follow
        from the number and the seed, so that a run can go on anywhere.
        """
        rows = [self._row(number, seed) for number in range(first, first + count)]
        spread = torch.randn(self.mean[rows].shape, generator=generator)
        return (
            self.mean[rows] + self.deviation[rows] * spread,
            self.conditions[self.prompts[rows]],
        )

    def _row(self, number: int, seed: int) -> int:
        epoch, place = divmod(number, len(self))
        order = torch.randperm(len(self), generator=chance("order", seed, epoch))
        return int(order[place])


@torch.no_grad()
def encode(
    pipeline: StableDiffusionPipeline,
    pictures: Sequence[Image.Image],
    prompts: Sequence[str],
    *,
    embed: bool,
) -> Material:
    """Pictures of one size through the VAE, in fp32, and their prompts through the tokenizer.

    Args:
        embed: put the prompts through the text encoder too, as it will not change.

    Raises:
        TrainingError: a prompt is too long for the text encoder.
    """
    vae = pipeline.vae
    dtype = vae.dtype
    # In fp16 the encoder's activations may be too large (diffusers: `force_upcast`).
    # Not diffusers' own method, which warns of every conversion.
    torch.nn.Module.to(vae, dtype=torch.float32)
    means, deviations = [], []
    for start in range(0, len(pictures), _CHUNK):
        batch = pipeline.image_processor.preprocess(list(pictures[start : start + _CHUNK]))
        distribution = vae.encode(batch.to(vae.device)).latent_dist
        means.append(distribution.mean.cpu() * vae.config.scaling_factor)
        deviations.append(distribution.std.cpu() * vae.config.scaling_factor)
    torch.nn.Module.to(vae, dtype=dtype)
    distinct = list(dict.fromkeys(prompts))
    return Material(
        mean=torch.cat(means),
        deviation=torch.cat(deviations),
        conditions=_conditions(pipeline, distinct, embed=embed),
        prompts=torch.tensor([distinct.index(prompt) for prompt in prompts]),
    )


def _conditions(
    pipeline: StableDiffusionPipeline, prompts: Sequence[str], *, embed: bool
) -> Tensor:
    tokenizer, encoder = pipeline.tokenizer, pipeline.text_encoder
    parts = []
    for start in range(0, len(prompts), _CHUNK):
        part = list(prompts[start : start + _CHUNK])
        _check_length(tokenizer, part)
        ids = tokenizer(
            part, padding="max_length", max_length=tokenizer.model_max_length, return_tensors="pt"
        ).input_ids
        if embed:
            ids = encoder(ids.to(encoder.device)).last_hidden_state.float().cpu()
        parts.append(ids)
    return torch.cat(parts)


def _check_length(tokenizer: CLIPTokenizer, prompts: Sequence[str]) -> None:
    room = tokenizer.model_max_length - 2
    for prompt in prompts:
        length = len(tokenizer.tokenize(prompt))
        if length > room:
            raise TrainingError(f"A prompt has {length} tokens, and only {room} fit: '{prompt}'.")
