"""What training has to know of each family: its components, what of them is trained, and how its
denoiser is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from engine.pipelines.t5 import TOKENS
from models.architectures import Family
from training.dreambooth.options import Target

# By the names that the denoiser has for its inputs; the first dimension is the row.
Conditioning: TypeAlias = Mapping[str, Tensor]
Call: TypeAlias = Callable[[Any, Tensor, Tensor, Conditioning], Tensor]
Join: TypeAlias = Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | None, int], Conditioning]

SIZES: Final = 6
"""Numbers that SDXL is told of a picture: original size, crop, and its own size."""

_UNET: Final[Mapping[Target, tuple[str, ...]]] = {
    "attention": ("to_q", "to_k", "to_v", "to_out.0"),
    "feed-forward": ("ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"),
    "convolution": ("conv1", "conv2", "conv_shortcut", "time_emb_proj"),
}
_MMDIT: Final[Mapping[Target, tuple[str, ...]]] = {
    "attention": (
        *("to_q", "to_k", "to_v", "to_out.0"),
        *("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
    ),
    "feed-forward": ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2"),
    "convolution": (),
}
_CLIP: Final[Mapping[Target, tuple[str, ...]]] = {
    "attention": ("q_proj", "k_proj", "v_proj", "out_proj"),
    "feed-forward": ("fc1", "fc2"),
    "convolution": (),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedFamily:
    """A family as training sees it.

    Attributes:
        denoiser: its component.
        call: the denoiser's prediction, shaped like the noisy latents [B, C, height, width]; with
            timesteps [B].
        targets: the denoiser's layers that may get a LoRA.
        clip: the components of the CLIP text encoders, which may be trained.
        penultimate: whether the denoiser takes their states before the last layer.
        t5: the component of T5, which is never trained; None where there is none.
        joined: the conditioning of some rows: out of the CLIP encoders' states [B, tokens, width],
            their pooled texts [B, width], the states of T5 if there is one, and the channels of the
            text that the denoiser takes.
        beside: the names of the denoiser's other inputs, of each picture: its original size, its
            crop and its own size, if anything.
    """

    denoiser: str
    call: Call
    targets: Mapping[Target, tuple[str, ...]]
    clip: tuple[str, ...]
    penultimate: bool
    t5: str | None = None
    joined: Join
    beside: tuple[str, ...] = ()

    @property
    def modules(self) -> frozenset[str]:
        """The components with weights."""
        t5 = () if self.t5 is None else (self.t5,)
        return frozenset({self.denoiser, "vae", *self.clip, *t5})

    def layers(self, component: str) -> Mapping[Target, tuple[str, ...]]:
        """Of a component that is trained, the layers that may get a LoRA."""
        return self.targets if component == self.denoiser else _CLIP


def _call_unet(unet: Any, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
    inputs: dict[str, Any] = dict(conditioning)
    added = {name: inputs.pop(name) for name in ("text_embeds", "time_ids") if name in inputs}
    prediction: Tensor = unet(noisy, timesteps, **inputs, added_cond_kwargs=added or None).sample
    return prediction


def _call_mmdit(
    transformer: Any, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning
) -> Tensor:
    prediction: Tensor = transformer(noisy, timestep=timesteps, **conditioning).sample
    return prediction


def _one_text(
    states: Sequence[Tensor], pooled: Sequence[Tensor], sentences: Tensor | None, channels: int
) -> Conditioning:
    return {"encoder_hidden_states": states[0]}


def _two_texts(
    states: Sequence[Tensor], pooled: Sequence[Tensor], sentences: Tensor | None, channels: int
) -> Conditioning:
    return {"encoder_hidden_states": torch.cat(tuple(states), dim=2), "text_embeds": pooled[-1]}


def _three_texts(
    states: Sequence[Tensor], pooled: Sequence[Tensor], sentences: Tensor | None, channels: int
) -> Conditioning:
    """As in the stock pipeline: zeros where CLIP's states are narrower, and for an absent T5."""
    words = torch.cat(tuple(states), dim=2)
    words = functional.pad(words, (0, channels - words.shape[2]))
    if sentences is None:
        sentences = words.new_zeros((len(words), TOKENS, channels))
    return {
        "encoder_hidden_states": torch.cat([words, sentences.to(words.dtype)], dim=1),
        "pooled_projections": torch.cat(tuple(pooled), dim=1),
    }


_STABLE_DIFFUSION = TunedFamily(
    denoiser="unet",
    call=_call_unet,
    targets=_UNET,
    clip=("text_encoder",),
    penultimate=False,
    joined=_one_text,
)
FAMILIES: Final[Mapping[Family, TunedFamily]] = MappingProxyType(
    {
        "sd1": _STABLE_DIFFUSION,
        "sd2": _STABLE_DIFFUSION,
        "sdxl": TunedFamily(
            denoiser="unet",
            call=_call_unet,
            targets=_UNET,
            clip=("text_encoder", "text_encoder_2"),
            penultimate=True,
            joined=_two_texts,
            beside=("time_ids",),
        ),
        "sd3": TunedFamily(
            denoiser="transformer",
            call=_call_mmdit,
            targets=_MMDIT,
            clip=("text_encoder", "text_encoder_2"),
            penultimate=True,
            t5="text_encoder_3",
            joined=_three_texts,
        ),
    }
)
