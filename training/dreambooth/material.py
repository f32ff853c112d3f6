"""The material of a run: the subject's pictures, those of its class, and all prompts.

It is made in stages, of which each has the networks in memory that it needs, and no other ones: a
text encoder after the other, then for class pictures the denoiser and the VAE, then the VAE. When
training begins, all of them are gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from engine.weights.memory import release
from training.dreambooth.base import Base
from training.dreambooth.chance import chance
from training.dreambooth.drawing import draw, embedded
from training.dreambooth.latents import Material, encode
from training.dreambooth.options import Options
from training.dreambooth.pictures import Cut, cuts, find_examples, read_picture
from training.dreambooth.prior import class_pictures, class_prompts
from training.dreambooth.run import RunFolder
from training.dreambooth.text import Prompts, Text, read_prompts, tokenize, tokenizer_of


@dataclass(frozen=True, slots=True)
class Prepared:
    """What training is done with.

    Attributes:
        prompts: of all pictures, of the contact sheets, and the empty one.
        subject: its pictures, cut to squares; mirrored ones follow.
        prior: pictures of the class, where the prior is to be preserved.
        scheduler: the config of the base's.
        zeros: whether the base takes zeros, and not the empty text, for no negative prompt.
    """

    prompts: Prompts
    subject: Material
    prior: Material | None
    scheduler: Mapping[str, Any]
    zeros: bool


def prepare_material(
    base: Base, options: Options, folder: RunFolder, side: int, *, shared: bool = True
) -> Prepared:
    """Go through the stages.

    Args:
        side: of the pictures, in pixels.
        shared: whether the processes of other machines see the folder, too.

    Raises:
        TrainingError: see `pictures`, and `text`.
        ModelError: the base is not here or broken.
    """
    subject = _subject(options, side)
    of_class = class_prompts(options) if options.prior_preservation else []
    texts = dict.fromkeys(
        [*(prompt for _, prompt in subject), *of_class, *options.sheet_prompts, ""]
    )
    prompts, tokens = _read(base, options, list(texts))
    pipeline = base.load()
    scheduler = pipeline.scheduler.config
    zeros = bool(pipeline.config.get("force_zeros_for_empty_prompt", False))

    def generate(wanted: Sequence[str], seeds: Sequence[int]) -> Iterator[Image.Image]:
        text = Text(base.family, base.text_channels, {})
        yield from draw(
            base.load(base.family.denoiser, "vae"),
            wanted,
            seeds,
            side=side,
            defaults=base.entry.defaults,
            say=embedded(text, prompts, zeros=zeros, device=base.device),
        )

    pictures = []
    if options.prior_preservation:
        pictures = class_pictures(generate, options, folder.class_pictures, shared=shared)
        release()
    uncut = [(Cut(picture, (side, side), (0, 0)), prompt) for picture, prompt in pictures]
    own, *prior = _encode(base, tokens, [subject, uncut] if uncut else [subject], side)
    return Prepared(tokens, own, prior[0] if prior else None, scheduler, zeros)


def _subject(options: Options, side: int) -> list[tuple[Cut, str]]:
    found = []
    for example in find_examples(options.images, options.token, options.instance_prompt):
        picture = read_picture(example.path, side)
        generator = chance("cuts", options.seed, example.path.name)
        for cut in cuts(picture, side, options.crop, options.crops, generator):
            copies = [cut, cut.mirrored()] if options.flip else [cut]
            found += [(copy, example.prompt) for copy in copies]
    return found


def _read(base: Base, options: Options, texts: Sequence[str]) -> tuple[Prompts, Prompts]:
    """Some texts as the base's text encoders have read them, and the same with tokens for those
    encoders that will change."""
    read: dict[str, torch.Tensor] = {}
    tokens: dict[str, torch.Tensor] = {}
    for name in base.text_encoders:
        pipeline = base.load(name)
        pieces = read_prompts(pipeline, name, base.family, texts)
        read |= pieces
        trained = options.train_text_encoder and name in base.family.clip
        if trained:
            pieces = {name: tokenize(tokenizer_of(pipeline, name), texts)}
        tokens |= pieces
        del pipeline
        release()
    return Prompts(texts, read), Prompts(texts, tokens)


def _encode(
    base: Base, prompts: Prompts, parts: Sequence[Sequence[tuple[Cut, str]]], side: int
) -> list[Material]:
    """The parts' pictures as latents."""
    pipeline = base.load("vae")
    materials = []
    for part in parts:
        mean, deviation = encode(pipeline, [cut.picture for cut, _ in part])
        told = {}
        if "time_ids" in base.family.beside:
            sizes = [[*cut.original, *cut.corner, side, side] for cut, _ in part]
            # The stock pipeline has them in the denoiser's precision.
            told["time_ids"] = torch.tensor(sizes, dtype=base.dtype)
        rows = prompts.rows([prompt for _, prompt in part])
        materials.append(Material(mean, deviation, prompts, rows, told))
    del pipeline
    release()
    return materials
