"""Prompts, as far as the text encoders have read them before training, and what is left to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn
from transformers import CLIPTokenizer

from engine.pipelines.t5 import TOKENS
from training.dreambooth.errors import TrainingError
from training.dreambooth.families import Conditioning, TunedFamily

CHUNK: Final = 8
SENTENCES: Final = "sentences"


class Prompts:
    """Different prompts, each a row of the same tensors on the CPU.

    Attributes:
        pieces: by the name of a CLIP text encoder, its token ids [C, tokens] if it is trained, else
            its states [C, tokens, width] and, under ``NAME_pooled``, its pooled text [C, width];
            under ``sentences`` the states of T5 [C, tokens, width], if there is one.
    """

    def __init__(self, texts: Sequence[str], pieces: Mapping[str, Tensor]) -> None:
        self.texts = tuple(texts)
        self.pieces = pieces

    def rows(self, prompts: Sequence[str]) -> Tensor:
        """The rows of some prompts, which are among these."""
        return torch.tensor([self.texts.index(prompt) for prompt in prompts], dtype=torch.long)

    def take(self, rows: Tensor) -> dict[str, Tensor]:
        """The pieces of some rows."""
        return {name: piece[rows] for name, piece in self.pieces.items()}


class Text(nn.Module):
    """From the pieces of some prompts to what the denoiser is told.

    Args:
        channels: of the text that the denoiser takes.
        encoders: the CLIP text encoders that are trained, by their components' names; of the
            others, the pieces have the states.
    """

    def __init__(
        self, family: TunedFamily, channels: int, encoders: Mapping[str, nn.Module]
    ) -> None:
        super().__init__()
        self._family, self._channels = family, channels
        self.encoders = nn.ModuleDict(encoders)

    def forward(self, pieces: Mapping[str, Tensor]) -> Conditioning:
        """The conditioning of the pieces' rows."""
        states, pooled = [], []
        for name in self._family.clip:
            if name in self.encoders:
                read = read_clip(name, self.encoders[name], pieces[name], self._family)
            else:
                read = {key: pieces[key] for key in (name, pooled_name(name)) if key in pieces}
            states.append(read[name])
            pooled += [read[key] for key in (pooled_name(name),) if key in read]
        return self._family.joined(states, pooled, pieces.get(SENTENCES), self._channels)


def tokenizer_of(pipeline: DiffusionPipeline, name: str) -> Any:
    """The tokenizer of a text encoder."""
    return getattr(pipeline, name.replace("text_encoder", "tokenizer"))


def tokenize(tokenizer: CLIPTokenizer, prompts: Sequence[str]) -> Tensor:
    """Token ids [prompts, tokens]. Raises ``TrainingError`` if a prompt is too long."""
    room = tokenizer.model_max_length - 2
    for prompt in prompts:
        length = len(tokenizer.tokenize(prompt))
        if length > room:
            raise TrainingError(f"A prompt has {length} tokens, and only {room} fit: '{prompt}'.")
    ids: Tensor = tokenizer(
        list(prompts),
        padding="max_length",
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    ).input_ids
    return ids


def read_clip(name: str, encoder: nn.Module, ids: Tensor, family: TunedFamily) -> dict[str, Tensor]:
    """The states of a text encoder as the family takes them, and its pooled text if it has one; by
    their names among the pieces."""
    output = encoder(ids, output_hidden_states=family.penultimate)
    if not family.penultimate:
        return {name: output.last_hidden_state}
    read = {name: output.hidden_states[-2]}
    # Without a projection, the first output is the last layer's states.
    if output[0].ndim == 2:
        read[pooled_name(name)] = output[0]
    return read


@torch.no_grad()
def read_prompts(
    pipeline: DiffusionPipeline, name: str, family: TunedFamily, prompts: Sequence[str]
) -> dict[str, Tensor]:
    """What one text encoder of a pipeline makes of prompts, on the CPU.

    Raises:
        TrainingError: a prompt is too long for it.
    """
    encoder: Any = getattr(pipeline, name)
    tokenizer = tokenizer_of(pipeline, name)
    parts: list[dict[str, Tensor]] = []
    for start in range(0, len(prompts), CHUNK):
        part = list(prompts[start : start + CHUNK])
        if name == family.t5:
            ids = tokenizer(
                part, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt"
            ).input_ids
            read = {SENTENCES: encoder(ids.to(encoder.device))[0].to(encoder.dtype)}
        else:
            read = read_clip(name, encoder, tokenize(tokenizer, part).to(encoder.device), family)
        parts.append({key: piece.cpu() for key, piece in read.items()})
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def pooled_name(name: str) -> str:
    return f"{name}_pooled"
