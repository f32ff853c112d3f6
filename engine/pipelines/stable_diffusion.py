"""Stable Diffusion 1 and 2: CLIP text encoder, UNet, KL autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contract.request import GenerationRequest
from engine.denoising.conditioning import Conditioning
from engine.lora.adapter import LoraSet
from engine.pipelines.autoencoder import VAE_PIXELS, Autoencoder
from engine.pipelines.latent_diffusion import LatentDiffusion
from engine.pipelines.parts import Compiler, Prompted, eager
from engine.pipelines.prompts import PromptEncoder, pad_to_longest
from engine.pipelines.unet import unet_denoiser


class StableDiffusion(LatentDiffusion):
    """Adapts a loaded ``StableDiffusionPipeline`` or ``StableDiffusionInpaintPipeline``.

    Args:
        pipeline: its UNet and VAE are laid out in channels_last.
        vae_pixels: see ``Autoencoder``.
        invariant: encode prompts one by one, so that what ``prepare`` makes of a single request
            cannot depend to the last bit on earlier ones.
        compiler: see ``unet_denoiser``.

    Raises:
        ValueError: the UNet takes other inputs than latents, or latents with mask and masked
            picture.
    """

    def __init__(
        self,
        pipeline: Any,
        *,
        vae_pixels: int = VAE_PIXELS,
        invariant: bool = False,
        compiler: Compiler = eager,
    ) -> None:
        encoder = PromptEncoder(
            pipeline.tokenizer, pipeline.text_encoder, batch_invariant=invariant
        )
        super().__init__(
            unet_denoiser(pipeline.unet, compiler),
            _Text(encoder),
            Autoencoder(pipeline.vae, vae_pixels),
            scheduler_config=pipeline.scheduler.config,
            text_encoders={"text_encoder": pipeline.text_encoder},
            invariant=invariant,
        )


class _Text:
    """One text encoder's last hidden states."""

    def __init__(self, encoder: PromptEncoder) -> None:
        self._encoder = encoder

    def encode(
        self, requests: Sequence[GenerationRequest], loras: Sequence[LoraSet]
    ) -> list[Prompted]:
        fields = [_prompts(request) for request in requests]
        encoded = self._encoder.encode_each(
            [(texts.values(), each) for texts, each in zip(fields, loras, strict=True)]
        )
        prompted = []
        for texts, prompts in zip(fields, encoded, strict=True):
            embeds = pad_to_longest(
                [prompts[text].embeds for text in texts.values()], prompts[""].embeds
            )
            warnings = tuple(
                f"{field} {warning}"
                for field, text in texts.items()
                for warning in prompts[text].warnings
            )
            prompted.append(Prompted(Conditioning({"encoder_hidden_states": embeds}), warnings))
        return prompted


def _prompts(request: GenerationRequest) -> dict[str, str]:
    """The texts of the request's rows, in their order, by field."""
    if request.guidance_scale > 1:
        return {"negative_prompt": request.negative_prompt or "", "prompt": request.prompt}
    return {"prompt": request.prompt}
