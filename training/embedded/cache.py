"""Latents and caption embeddings, computed once: the UNet then trains on plain tensors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm
from transformers import CLIPTextModel, CLIPTokenizer

from training.embedded.captions import captions
from training.embedded.dice import seeded
from training.embedded.scenes import Scene, compose, training_scene
from training.embedded.tensors import to_tensor
from training.embedded.world import World

STANDARD_PROMPT_SHARE = 0.4
_CHUNK = 128


@dataclass(frozen=True, slots=True)
class Cache:
    """Training data of the UNet. N scenes, C different captions (the first one is empty)."""

    latents: Tensor
    """[N, 4, 16, 16] float32, scaled to unit variance."""
    weights: Tensor
    """[N] float64: how often each scene is drawn."""
    spans: Tensor
    """[N, 2] int64: first caption of a scene (the standard prompt) and how many follow it."""
    order: Tensor
    """[M] int64: caption numbers that the spans point into."""
    embeddings: Tensor
    """[C, 77, width] float16: last hidden states of the text encoder."""

    def draw(
        self, count: int, unconditional: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """A random batch: latents [count, 4, 16, 16] and embeddings [count, 77, width]."""
        rows = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        first, number = self.spans[rows].unbind(1)
        pick = (torch.rand(count, generator=generator) * number).long()
        standard = torch.rand(count, generator=generator) < STANDARD_PROMPT_SHARE
        chosen = self.order[first + torch.where(standard, 0, pick)]
        empty = torch.rand(count, generator=generator) < unconditional
        return self.latents[rows], self.embeddings[torch.where(empty, 0, chosen)].float()


def build_cache(
    path: Path,
    world: World,
    vae: AutoencoderKL,
    tokenizer: CLIPTokenizer,
    text_encoder: CLIPTextModel,
    *,
    style: str,
    scenes_per_object: int,
    device: torch.device,
    seed: int,
) -> None:
    """Compose scenes of every drawn object, encode them and their captions, write one file."""
    rng = seeded(seed)
    scenes = [
        training_scene(world, subject, style, rng)
        for subject in world.drawn
        for _ in range(scenes_per_object)
    ]
    numbers: dict[str, int] = {"": 0}
    order: list[int] = []
    spans: list[tuple[int, int]] = []
    for scene in scenes:
        texts = captions(scene)
        spans.append((len(order), len(texts)))
        order += [numbers.setdefault(text, len(numbers)) for text in texts]
    tensors = {
        "latents": _encode_scenes(world, scenes, vae.to(device), device),
        "weights": torch.tensor([s.subject.weight for s in scenes], dtype=torch.float64),
        "spans": torch.tensor(spans),
        "order": torch.tensor(order),
        "embeddings": encode_captions(list(numbers), tokenizer, text_encoder.to(device)),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"pairs": json.dumps(_pairs(scenes))})
    partial.rename(path)


def load_cache(path: Path) -> Cache:
    """Open a cache file. The tensors are mapped, so that processes share the memory."""
    return Cache(**load_file(path))


def cached_pairs(path: Path) -> set[tuple[str, str]]:
    """The (object, colour) pairs that a cache file was made of."""
    with safe_open(path, framework="pt") as file:
        return {(name, colour) for name, colour in json.loads(file.metadata()["pairs"])}


def _pairs(scenes: list[Scene]) -> list[tuple[str, str]]:
    return sorted({(s.subject.name, colour) for s in scenes for colour in s.background})


@torch.no_grad()
def _encode_scenes(
    world: World, scenes: list[Scene], vae: AutoencoderKL, device: torch.device
) -> Tensor:
    parts = []
    for start in tqdm(range(0, len(scenes), _CHUNK), desc="latents", unit="batch"):
        pixels = to_tensor([compose(world, s) for s in scenes[start : start + _CHUNK]])
        latents = vae.encode(pixels.to(device)).latent_dist.mode()
        parts.append((latents * vae.config.scaling_factor).float().cpu())
    return torch.cat(parts).contiguous()


@torch.no_grad()
def encode_captions(
    texts: list[str], tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel
) -> Tensor:
    """Last hidden states [len(texts), 77, width] as float16, padded as the pipeline pads."""
    parts = []
    for start in tqdm(range(0, len(texts), _CHUNK), desc="captions", unit="batch"):
        tokens = tokenizer(
            texts[start : start + _CHUNK],
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        ids = tokens.input_ids.to(text_encoder.device)
        parts.append(text_encoder(ids).last_hidden_state.half().cpu())
    return torch.cat(parts).contiguous()
