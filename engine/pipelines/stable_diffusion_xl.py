"""Stable Diffusion XL and its refiner: two CLIP text encoders (a refiner has the second one alone),
UNet, KL autoencoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from contract.request import GenerationRequest
from engine.denoising.conditioning import Conditioning
from engine.lora.adapter import LoraSet
from engine.pipelines.autoencoder import VAE_PIXELS, Autoencoder
from engine.pipelines.latent_diffusion import LatentDiffusion
from engine.pipelines.parts import Compiler, Prompted, eager
from engine.pipelines.prompts import EncodedPrompt, PromptEncoder, pad_to_longest
from engine.pipelines.unet import unet_denoiser

# Numbers that the UNet is told about a picture: original size, crop, and size of the result or, of
# refiners, an aesthetic score.
_SIZES = 6
_AESTHETIC = 5


class StableDiffusionXL(LatentDiffusion):
    """Adapts a loaded ``StableDiffusionXLPipeline``, or its forms for img2img and inpainting.

    A refiner, which the UNet's inputs tell, starts from a picture or from what another model has
    handed over.

    Args:
        pipeline: its UNet and VAE are laid out in channels_last.
        vae_pixels: see ``Autoencoder``.
        invariant: see ``StableDiffusion``.
        compiler: see ``unet_denoiser``.

    Raises:
        ValueError: the UNet takes other inputs than those of SDXL, its inpainter or its refiner.
    """

    def __init__(
        self,
        pipeline: Any,
        *,
        vae_pixels: int = VAE_PIXELS,
        invariant: bool = False,
        compiler: Compiler = eager,
    ) -> None:
        numbers = _numbers(pipeline.unet.config, pipeline.text_encoder_2.config.projection_dim)
        denoiser = unet_denoiser(pipeline.unet, compiler)
        text_encoders = {
            name: module
            for name in ("text_encoder", "text_encoder_2")
            if (module := getattr(pipeline, name)) is not None
        }
        tokenizers = {"text_encoder": pipeline.tokenizer, "text_encoder_2": pipeline.tokenizer_2}
        encoders = [
            PromptEncoder(
                tokenizers[name],
                module,
                component=name,
                penultimate=True,
                batch_invariant=invariant,
            )
            for name, module in text_encoders.items()
        ]
        super().__init__(
            denoiser,
            _Text(
                encoders,
                aesthetic=numbers == _AESTHETIC,
                zeros=pipeline.config.force_zeros_for_empty_prompt,
                like=torch.empty(0, dtype=denoiser.module.dtype, device=denoiser.module.device),
            ),
            Autoencoder(pipeline.vae, vae_pixels),
            scheduler_config=pipeline.scheduler.config,
            text_encoders=text_encoders,
            from_text=numbers == _SIZES,
            invariant=invariant,
        )


def _numbers(config: Any, projected: int) -> int:
    """How many numbers a UNet takes beside ``projected`` channels of pooled text."""
    if config.addition_embed_type == "text_time":
        rest = config.projection_class_embeddings_input_dim - projected
        numbers, remainder = divmod(rest, config.addition_time_embed_dim)
        if remainder == 0 and numbers in (_SIZES, _AESTHETIC):
            return int(numbers)
    raise ValueError("UNets that are told other things than those of SDXL are not supported")


@dataclass(frozen=True, slots=True)
class _Text:
    """The text encoders' hidden states side by side, the last one's pooled text, and the numbers.

    Attributes:
        encoders: one or two.
        aesthetic: whether the UNet is told an aesthetic score in place of the picture's size.
        zeros: whether no negative prompt is zeros, and not the empty text's embedding.
        like: a tensor of the UNet's dtype and on its device.
    """

    encoders: Sequence[PromptEncoder]
    aesthetic: bool
    zeros: bool
    like: torch.Tensor

    def encode(
        self, requests: Sequence[GenerationRequest], loras: Sequence[LoraSet]
    ) -> list[Prompted]:
        fields = [
            [self._prompts(request, second=bool(number)) for request in requests]
            for number in range(len(self.encoders))
        ]
        encoded = [
            encoder.encode_each(
                [(texts.values(), each) for texts, each in zip(of_encoder, loras, strict=True)]
            )
            for encoder, of_encoder in zip(self.encoders, fields, strict=True)
        ]
        return [
            self._prompted(
                request, [each[index] for each in fields], [each[index] for each in encoded]
            )
            for index, request in enumerate(requests)
        ]

    def _prompts(self, request: GenerationRequest, *, second: bool) -> dict[str, str]:
        """The texts that an encoder is given, in the order of the rows, by field."""
        texts = {"prompt": request.prompt}
        if second and request.prompt_2:
            texts = {"prompt_2": request.prompt_2}
        if request.guidance_scale <= 1 or self._zeroed(request):
            return texts
        if second and request.negative_prompt_2:
            return {"negative_prompt_2": request.negative_prompt_2, **texts}
        return {"negative_prompt": request.negative_prompt or "", **texts}

    def _zeroed(self, request: GenerationRequest) -> bool:
        return self.zeros and request.negative_prompt is None

    def _prompted(
        self,
        request: GenerationRequest,
        fields: Sequence[Mapping[str, str]],
        encoded: Sequence[Mapping[str, EncodedPrompt]],
    ) -> Prompted:
        """Put together what the encoders have made of one request."""
        found = [
            [prompts[text] for text in texts.values()]
            for texts, prompts in zip(fields, encoded, strict=True)
        ]
        longest = max(prompt.embeds.shape[1] for prompts in found for prompt in prompts)
        embeds = torch.cat(
            [
                pad_to_longest([each.embeds for each in prompts], texts[""].embeds, longest)
                for prompts, texts in zip(found, encoded, strict=True)
            ],
            dim=2,
        )
        pooled = torch.cat([each.pooled for each in found[-1] if each.pooled is not None])
        if request.guidance_scale > 1 and self._zeroed(request):
            embeds = torch.cat([torch.zeros_like(embeds), embeds])
            pooled = torch.cat([torch.zeros_like(pooled), pooled])
        warnings = [
            f"{field} {warning}"
            for texts, prompts in zip(fields, encoded, strict=True)
            for field, text in texts.items()
            for warning in prompts[text].warnings
        ]
        conditioning = Conditioning(
            {
                "encoder_hidden_states": embeds,
                "text_embeds": pooled,
                "time_ids": self._numbers(request)[-len(embeds) :],
            }
        )
        return Prompted(conditioning, tuple(warnings))

    def _numbers(self, request: GenerationRequest) -> torch.Tensor:
        """``[2, numbers]``, for the negative prompt and for the prompt. As the stock pipelines do,
        in the UNet's own precision."""
        size = (request.height, request.width)
        original = request.original_size or size
        negative = positive = [*original, *request.crop, *map(float, size)]
        if self.aesthetic:
            negative = [*original, 0, 0, request.negative_aesthetic_score]
            positive = [*original, *request.crop, request.aesthetic_score]
        return self.like.new_tensor([negative, positive])
