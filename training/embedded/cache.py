"""Latents and encoded captions, computed once: the denoiser then trains on plain tensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image, ImageFilter
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from training.embedded.captions import captions
from training.embedded.dice import seeded
from training.embedded.scenes import Pixels, Scene, compose, training_scene
from training.embedded.tensors import to_tensor
from training.embedded.world import World

Conditions: TypeAlias = dict[str, Tensor]
"""By name, [texts, ...]: what a denoiser is told by each of some texts."""
Encode: TypeAlias = Callable[[list[str]], Conditions]

STANDARD_PROMPT_SHARE = 0.4
SHARP: Final = 6.0
"""The aesthetic score of a sharp picture, and of a request that gives none."""
SOFT: Final = 2.5
"""That of a picture blurred by a pixel; and the negative one of a request that gives none."""
_CHUNK = 128
_PREFIX: Final = "conditions."


@dataclass(frozen=True, slots=True)
class Batch:
    """Training samples: [count, ...] each."""

    latents: Tensor
    conditions: Conditions
    scores: Tensor


@dataclass(frozen=True, slots=True)
class Cache:
    """Training data of a denoiser. N scenes, C different captions (the first one is empty)."""

    latents: Tensor
    """[N, 4, 16, 16] float32, scaled to unit variance."""
    weights: Tensor
    """[N] float64: how often each scene is drawn."""
    scores: Tensor
    """[N] float32: how sharp each scene is, as an aesthetic score."""
    spans: Tensor
    """[N, 2] int64: first caption of a scene (the standard prompt) and how many follow it."""
    order: Tensor
    """[M] int64: caption numbers that the spans point into."""
    blanks: Tensor
    """[B] int64: the captions that stand for none; each is drawn as often as it is listed."""
    conditions: Conditions
    """By name, [C, ...] float16."""

    def draw(self, count: int, unconditional: float, generator: torch.Generator) -> Batch:
        """A random batch, of which a share is told nothing."""
        rows = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        first, number = self.spans[rows].unbind(1)
        pick = (torch.rand(count, generator=generator) * number).long()
        standard = torch.rand(count, generator=generator) < STANDARD_PROMPT_SHARE
        chosen = self.order[first + torch.where(standard, 0, pick)]
        empty = torch.rand(count, generator=generator) < unconditional
        blank = self.blanks[torch.randint(len(self.blanks), (count,), generator=generator)]
        told = torch.where(empty, blank, chosen)
        return Batch(
            self.latents[rows],
            {name: values[told].float() for name, values in self.conditions.items()},
            self.scores[rows],
        )


def build_cache(
    path: Path,
    world: World,
    vae: AutoencoderKL,
    encode: Encode,
    *,
    style: str,
    scenes_per_object: int,
    device: torch.device,
    seed: int,
    zeros: bool = False,
    soft_share: float = 0.0,
) -> None:
    """Compose scenes of every drawn object, encode them and their captions, write one file.

    Args:
        path: the file.
        world: what there is to draw.
        vae: its latents.
        encode: captions to conditions.
        style: of the art.
        scenes_per_object: how many of each.
        device: where the networks compute.
        seed: of all scenes.
        zeros: whether zeros stand for no caption, more often than the empty one.
        soft_share: of the scenes that are blurred, and have a lower score.
    """
    rng = seeded(seed)
    scenes = [
        training_scene(world, subject, style, rng)
        for subject in world.drawn
        for _ in range(scenes_per_object)
    ]
    radii = [rng.random() if rng.random() < soft_share else 0.0 for _ in scenes]
    numbers: dict[str, int] = {"": 0}
    order: list[int] = []
    spans: list[tuple[int, int]] = []
    for scene in scenes:
        texts = captions(scene)
        spans.append((len(order), len(texts)))
        order += [numbers.setdefault(text, len(numbers)) for text in texts]
    conditions = encode_captions(list(numbers), encode)
    if zeros:
        conditions = {
            name: torch.cat([values, torch.zeros_like(values[:1])])
            for name, values in conditions.items()
        }
    tensors = {
        "latents": _encode_scenes(world, scenes, radii, vae.to(device), device),
        "weights": torch.tensor([s.subject.weight for s in scenes], dtype=torch.float64),
        "scores": SHARP + (SOFT - SHARP) * torch.tensor(radii),
        "spans": torch.tensor(spans),
        "order": torch.tensor(order),
        "blanks": torch.tensor([0, len(numbers), len(numbers)] if zeros else [0]),
        **{_PREFIX + name: values for name, values in conditions.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"pairs": json.dumps(_pairs(scenes))})
    partial.rename(path)


def load_cache(path: Path) -> Cache:
    """Open a cache file. The tensors are mapped, so that processes share the memory."""
    tensors: Mapping[str, Tensor] = load_file(path)
    plain = {name: value for name, value in tensors.items() if not name.startswith(_PREFIX)}
    conditions = {
        name.removeprefix(_PREFIX): value
        for name, value in tensors.items()
        if name.startswith(_PREFIX)
    }
    return Cache(**plain, conditions=conditions)


def cached_pairs(path: Path) -> set[tuple[str, str]]:
    """The (object, colour) pairs that a cache file was made of."""
    with safe_open(path, framework="pt") as file:
        return {(name, colour) for name, colour in json.loads(file.metadata()["pairs"])}


def _pairs(scenes: Sequence[Scene]) -> list[tuple[str, str]]:
    return sorted({(s.subject.name, colour) for s in scenes for colour in s.background})


def soften(pixels: Pixels, radius: float) -> Pixels:
    """A picture blurred by this many pixels."""
    if not radius:
        return pixels
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


@torch.no_grad()
def _encode_scenes(
    world: World,
    scenes: Sequence[Scene],
    radii: Sequence[float],
    vae: AutoencoderKL,
    device: torch.device,
) -> Tensor:
    parts = []
    drawn = list(zip(scenes, radii, strict=True))
    for start in tqdm(range(0, len(drawn), _CHUNK), desc="latents", unit="batch"):
        pixels = to_tensor(
            [soften(compose(world, s), radius) for s, radius in drawn[start : start + _CHUNK]]
        )
        latents = vae.encode(pixels.to(device)).latent_dist.mode()
        parts.append((latents * vae.config.scaling_factor).float().cpu())
    return torch.cat(parts).contiguous()


@torch.no_grad()
def encode_captions(texts: list[str], encode: Encode) -> Conditions:
    """Conditions of many texts as float16."""
    parts: dict[str, list[Tensor]] = {}
    for start in tqdm(range(0, len(texts), _CHUNK), desc="captions", unit="batch"):
        for name, values in encode(texts[start : start + _CHUNK]).items():
            parts.setdefault(name, []).append(values.half().cpu())
    return {name: torch.cat(values).contiguous() for name, values in parts.items()}
