"""The formats of larger Stable Diffusions, and what of the embedded model goes into each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusion3Pipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextModel, CLIPTokenizer

from training.embedded import flow, mmdit, unet, unet_xl
from training.embedded.cache import Conditions
from training.embedded.encoders import first_encoder, first_encoder_projected, second_encoder
from training.embedded.loop import Plan
from training.embedded.vae import load_vae, with_empty_latents

FormatName: TypeAlias = Literal["sdxl", "sdxl-refiner", "sd3"]

EMBEDDED_DIR: Final = Path(__file__).parents[2] / "models" / "embedded"
SD3_CHANNELS: Final = 16
SD3_TOKENS: Final = 32
"""The longest captions have half of them, and every token costs."""
TAUGHT_TOKENS: Final = 77
"""What the source pads to, which is its transformer's teacher."""


@dataclass(frozen=True, slots=True)
class Source:
    """The components of the embedded model, in fp32."""

    folder: Path

    def tokenizer(self, **changes: int) -> CLIPTokenizer:
        """Its tokenizer."""
        return CLIPTokenizer.from_pretrained(self.folder / "tokenizer", **changes)

    def text_encoder(self) -> CLIPTextModel:
        """Its text encoder."""
        return CLIPTextModel.from_pretrained(self.folder / "text_encoder", dtype=torch.float32)

    def unet(self) -> UNet2DConditionModel:
        """Its UNet."""
        return UNet2DConditionModel.from_pretrained(
            self.folder / "unet", torch_dtype=torch.float32
        ).eval()


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """What is particular about a format.

    Attributes:
        pipeline: the class that loads the result.
        denoiser: the component that is trained.
        start: the pipeline that training begins with.
        encode: what its denoiser is told by texts.
        adapt: teaches it, before the training and in so many updates, what can be had without
            pictures.
        plan: of the training, from a cache, the denoiser's directory and the source.
        finish: the trained denoiser of a checkpoint, as it is exported.
        zeros: whether zeros stand for an absent prompt.
        soft_share: of the pictures that are blurred, and say so by their aesthetic score.
        samples: to learn from.
        learning_rate: at its peak: a lower one where the start knows much already.
        orthogonal: matrices whose names begin like this are trained by Muon.
    """

    pipeline: type[DiffusionPipeline]
    denoiser: Literal["unet", "transformer"]
    start: Callable[[Source], DiffusionPipeline]
    encode: Callable[[Any, list[str]], Conditions]
    adapt: Callable[[DiffusionPipeline, Source, Conditions, int], None]
    plan: Callable[[Path, Path, Source], Plan]
    finish: Callable[[Path], Any]
    zeros: bool = False
    soft_share: float = 0.0
    samples: int
    learning_rate: float
    orthogonal: str | None = None


def _base(source: Source) -> DiffusionPipeline:
    text_encoder = source.text_encoder()
    return StableDiffusionXLPipeline(
        vae=load_vae(source.folder / "vae"),
        text_encoder=first_encoder(text_encoder),
        text_encoder_2=second_encoder(text_encoder),
        tokenizer=source.tokenizer(),
        tokenizer_2=source.tokenizer(),
        unet=unet_xl.warm_unet(source.unet(), refiner=False),
        scheduler=DDIMScheduler(**unet.SCHEDULE),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )


def _refiner(source: Source) -> DiffusionPipeline:
    return StableDiffusionXLImg2ImgPipeline(
        vae=load_vae(source.folder / "vae"),
        text_encoder=None,
        text_encoder_2=second_encoder(source.text_encoder()),
        tokenizer=None,
        tokenizer_2=source.tokenizer(),
        unet=unet_xl.warm_unet(source.unet(), refiner=True),
        scheduler=DDIMScheduler(**unet.SCHEDULE),
        requires_aesthetics_score=True,
        force_zeros_for_empty_prompt=False,
        add_watermarker=False,
    )


def _sd3(source: Source) -> DiffusionPipeline:
    text_encoder = source.text_encoder()
    return StableDiffusion3Pipeline(
        vae=with_empty_latents(load_vae(source.folder / "vae"), SD3_CHANNELS),
        text_encoder=first_encoder_projected(text_encoder),
        text_encoder_2=second_encoder(text_encoder),
        text_encoder_3=None,
        tokenizer=source.tokenizer(model_max_length=SD3_TOKENS),
        tokenizer_2=source.tokenizer(model_max_length=SD3_TOKENS),
        tokenizer_3=None,
        transformer=mmdit.with_empty_channels(mmdit.new_transformer(), SD3_CHANNELS),
        scheduler=FlowMatchEulerDiscreteScheduler(**mmdit.SCHEDULE),
    )


@torch.no_grad()
def _encode_xl(pipeline: Any, texts: list[str]) -> Conditions:
    text, _, pooled, _ = pipeline.encode_prompt(texts, do_classifier_free_guidance=False)
    return {"text": text, "pooled": pooled}


@torch.no_grad()
def _encode_sd3(pipeline: Any, texts: list[str]) -> Conditions:
    # The one token of T5's stands for all of them: see `mmdit.CountedZeros`.
    text, _, pooled, _ = pipeline.encode_prompt(
        texts, None, None, do_classifier_free_guidance=False, max_sequence_length=1
    )
    # With the final norm that this format leaves out, its first encoder is the source's.
    tokens = pipeline.tokenizer(
        texts, padding="max_length", max_length=TAUGHT_TOKENS, truncation=True, return_tensors="pt"
    )
    taught = pipeline.text_encoder(tokens.input_ids.to(text.device)).last_hidden_state
    return {"text": text, "pooled": pooled, flow.TAUGHT: taught}


def _plan_xl(cache: Path, initial: Path, source: Source) -> Plan:
    return unet_xl.XLPlan(cache, initial)


def _plan_flow(cache: Path, initial: Path, source: Source) -> Plan:
    return flow.FlowPlan(cache, initial, source.folder / "unet")


def _fit_pooled(pipeline: Any, source: Source, conditions: Conditions, updates: int) -> None:
    unet_xl.fit_pooled(pipeline.unet, source.unet(), conditions, updates=updates)


def _nothing(
    pipeline: DiffusionPipeline, source: Source, conditions: Conditions, updates: int
) -> None:
    """A new transformer learns all from pictures."""


def _finished_base(checkpoint: Path) -> Any:
    return unet_xl.trained_xl(checkpoint, refiner=False)


def _finished_refiner(checkpoint: Path) -> Any:
    return unet_xl.trained_xl(checkpoint, refiner=True)


def _finished_transformer(checkpoint: Path) -> Any:
    return mmdit.with_empty_channels(mmdit.trained_transformer(checkpoint), SD3_CHANNELS)


FORMATS: Final = MappingProxyType[FormatName, Format](
    {
        "sdxl": Format(
            pipeline=StableDiffusionXLPipeline,
            denoiser="unet",
            start=_base,
            encode=_encode_xl,
            adapt=_fit_pooled,
            plan=_plan_xl,
            finish=_finished_base,
            zeros=True,
            samples=100_000,
            learning_rate=1.5e-4,
        ),
        "sdxl-refiner": Format(
            pipeline=StableDiffusionXLImg2ImgPipeline,
            denoiser="unet",
            start=_refiner,
            encode=_encode_xl,
            adapt=_fit_pooled,
            plan=_plan_xl,
            finish=_finished_refiner,
            soft_share=0.3,
            samples=60_000,
            learning_rate=2e-4,
        ),
        "sd3": Format(
            pipeline=StableDiffusion3Pipeline,
            denoiser="transformer",
            start=_sd3,
            encode=_encode_sd3,
            adapt=_nothing,
            plan=_plan_flow,
            finish=_finished_transformer,
            samples=600_000,
            learning_rate=2e-3,
            orthogonal="transformer_blocks.",
        ),
    }
)
