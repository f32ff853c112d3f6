"""Stable Diffusion 3 and 3.5: two CLIP text encoders and T5's, which may be absent, MMDiT, flow
matching, KL autoencoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from contract.errors import ErrorCode, RequestError
from contract.request import GenerationRequest
from engine.denoising.conditioning import Conditioning
from engine.denoising.flow_schedule import FlowSchedule, dynamic_shift
from engine.denoising.noise_schedule import NoiseSchedule
from engine.denoising.samplers import FLOW_SAMPLERS
from engine.lora.adapter import LoraSet
from engine.pipelines.autoencoder import VAE_PIXELS, Autoencoder
from engine.pipelines.base import SegmentRequest
from engine.pipelines.latent_diffusion import LatentDiffusion
from engine.pipelines.mmdit import mmdit_denoiser
from engine.pipelines.parts import Compiler, Prompted, eager
from engine.pipelines.prompts import EncodedPrompt, PromptEncoder, pad_to_longest
from engine.pipelines.t5 import TOKENS, T5Encoder

_NO_T5 = (
    "the model runs without T5, its third text encoder: it follows long prompts and writes words "
    "less well"
)


class StableDiffusion3(LatentDiffusion):
    """Adapts a loaded ``StableDiffusion3Pipeline``, or its forms for img2img and inpainting.

    Two things differ from the stock pipelines. Prompts may have weights, and more than 77 tokens in
    the CLIP encoders' part. And inpainted pictures are decoded as all others: the stock pipeline
    for inpainting of diffusers 0.42 forgets the VAE's ``shift_factor``, which changes colours.

    Args:
        pipeline: its VAE is laid out in channels_last. Without its third text encoder, zeros take
            the place of what that says.
        vae_pixels: see ``Autoencoder``.
        invariant: see ``StableDiffusion``.
        compiler: see ``mmdit_denoiser``; likewise ``mixed_sizes``.

    Raises:
        ValueError: the transformer takes other inputs than latents, or latents with mask and masked
            picture.
    """

    def __init__(
        self,
        pipeline: Any,
        *,
        vae_pixels: int = VAE_PIXELS,
        invariant: bool = False,
        compiler: Compiler = eager,
        mixed_sizes: bool = False,
    ) -> None:
        config = pipeline.transformer.config
        text_encoders = {
            "text_encoder": pipeline.text_encoder,
            "text_encoder_2": pipeline.text_encoder_2,
        }
        tokenizers = (pipeline.tokenizer, pipeline.tokenizer_2)
        clip = [
            PromptEncoder(
                tokenizer, module, component=name, penultimate=True, batch_invariant=invariant
            )
            for tokenizer, (name, module) in zip(tokenizers, text_encoders.items(), strict=True)
        ]
        t5 = None
        if pipeline.text_encoder_3 is not None:
            t5 = T5Encoder(pipeline.tokenizer_3, pipeline.text_encoder_3, batch_invariant=invariant)
        # One of T5's zeros stands for all of them, which takes an attention with a bias. CUDA's
        # fastest kernels take none, and large pictures gain little.
        counted = t5 is None and pipeline.transformer.device.type == "cpu"
        super().__init__(
            mmdit_denoiser(
                pipeline.transformer,
                compiler,
                last_token=TOKENS if counted else 1,
                mixed_sizes=mixed_sizes,
            ),
            _Text(clip, t5, 1 if counted else TOKENS, config.joint_attention_dim),
            Autoencoder(pipeline.vae, vae_pixels),
            scheduler_config=pipeline.scheduler.config,
            text_encoders=text_encoders,
            invariant=invariant,
        )
        self._patch: int = config.patch_size

    def _check(self, wanted: SegmentRequest) -> None:
        super()._check(wanted)
        dynamic = self._scheduler_config.get("use_dynamic_shifting")
        if wanted.request.scheduler == "heun" and dynamic:
            raise RequestError(
                ErrorCode.OUT_OF_RANGE,
                f"scheduler must be euler for {wanted.segment.model}, got heun, which cannot shift "
                "the noise schedule by the picture's size",
                field="scheduler",
            )

    def _schedule(self, wanted: SegmentRequest, generator: torch.Generator) -> NoiseSchedule:
        request = wanted.request
        side = self.latent_scale * self._patch
        tokens = (request.height // side) * (request.width // side)
        return FlowSchedule(
            FLOW_SAMPLERS[request.scheduler].create(self._scheduler_config),
            request.num_inference_steps,
            generator,
            strength=request.strength,
            segment=wanted.segment,
            mu=dynamic_shift(self._scheduler_config, tokens),
        )


@dataclass(frozen=True, slots=True)
class _Text:
    """The CLIP encoders' hidden states side by side, T5's behind them, and the pooled texts.

    Attributes:
        clip: both of them.
        t5: None for zeros in its place.
        zeros: their number.
        channels: of a token; those that CLIP's have not are zeros.
    """

    clip: Sequence[PromptEncoder]
    t5: T5Encoder | None
    zeros: int
    channels: int

    def encode(
        self, requests: Sequence[GenerationRequest], loras: Sequence[LoraSet]
    ) -> list[Prompted]:
        fields = [
            [_prompts(request, suffix) for request in requests] for suffix in ("", "_2", "_3")
        ]
        encoded = [
            encoder.encode_each(
                [(texts.values(), each) for texts, each in zip(of_encoder, loras, strict=True)]
            )
            for encoder, of_encoder in zip(self.clip, fields, strict=False)
        ]
        if self.t5 is not None:
            sentences = self.t5.encode(
                text for of_request in fields[-1] for text in of_request.values()
            )
            encoded.append([sentences] * len(requests))
        return [
            self._prompted([each[index] for each in fields], [each[index] for each in encoded])
            for index in range(len(requests))
        ]

    def _prompted(
        self, fields: Sequence[Mapping[str, str]], encoded: Sequence[Mapping[str, EncodedPrompt]]
    ) -> Prompted:
        """Put together what the encoders have made of one request."""
        found = [
            [prompts[text] for text in texts.values()]
            for texts, prompts in zip(fields, encoded, strict=False)
        ]
        clip, t5 = found[:2], found[2:]
        longest = max(prompt.embeds.shape[1] for prompts in clip for prompt in prompts)
        words = torch.cat(
            [
                pad_to_longest([each.embeds for each in prompts], texts[""].embeds, longest)
                for prompts, texts in zip(clip, encoded, strict=False)
            ],
            dim=2,
        )
        words = torch.nn.functional.pad(words, (0, self.channels - words.shape[2]))
        if t5:
            sentences = torch.cat([each.embeds for each in t5[0]])
        else:
            sentences = words.new_zeros((len(words), self.zeros, self.channels))
        pooled = [
            torch.cat([each.pooled for each in prompts if each.pooled is not None])
            for prompts in clip
        ]
        warnings = [
            f"{field} {warning}"
            for texts, prompts in zip(fields, encoded, strict=False)
            for field, text in texts.items()
            for warning in prompts[text].warnings
        ]
        if not t5:
            warnings.append(_NO_T5)
        conditioning = Conditioning(
            {
                "encoder_hidden_states": torch.cat([words, sentences], dim=1),
                "pooled_projections": torch.cat(pooled, dim=1),
            }
        )
        return Prompted(conditioning, tuple(warnings))


def _prompts(request: GenerationRequest, suffix: str) -> dict[str, str]:
    """The texts that an encoder is given, in the order of the rows, by field."""
    names = ("negative_prompt", "prompt") if request.guidance_scale > 1 else ("prompt",)
    own = [name + suffix if getattr(request, name + suffix) else name for name in names]
    return {name: getattr(request, name) or "" for name in own}
