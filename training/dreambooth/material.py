"""The material of a run: the subject's pictures, and those of its class."""

from __future__ import annotations

from pathlib import Path

from diffusers import StableDiffusionPipeline
from PIL import ImageOps

from models.catalog import Defaults
from training.dreambooth.chance import chance
from training.dreambooth.latents import Material, encode
from training.dreambooth.options import Options
from training.dreambooth.pictures import cuts, find_examples, read_picture
from training.dreambooth.prior import class_pictures, class_prompts


def subject_material(pipeline: StableDiffusionPipeline, options: Options, side: int) -> Material:
    """The subject's pictures, cut to squares of ``side`` pixels; mirrored ones follow.

    Raises:
        TrainingError: see `pictures`.
    """
    pictures, prompts = [], []
    for example in find_examples(options.images, options.token, options.instance_prompt):
        picture = read_picture(example.path, side)
        generator = chance("cuts", options.seed, example.path.name)
        for cut in cuts(picture, side, options.crop, options.crops, generator):
            copies = [cut, ImageOps.mirror(cut)] if options.flip else [cut]
            pictures += copies
            prompts += [example.prompt] * len(copies)
    return encode(pipeline, pictures, prompts, embed=not options.train_text_encoder)


def class_material(
    pipeline: StableDiffusionPipeline,
    options: Options,
    folder: Path,
    side: int,
    defaults: Defaults,
) -> Material:
    """Pictures by the base with their prompts, kept in a folder."""
    pictures = class_pictures(pipeline, options, folder, side=side, defaults=defaults)
    prompts = class_prompts(options)
    return encode(pipeline, pictures, prompts, embed=not options.train_text_encoder)
