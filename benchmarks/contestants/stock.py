"""The stock diffusers pipelines that the contestants have in common, and a ledger of their passes.

Environment: ``BENCH_MODEL`` is the pipeline's folder, ``BENCH_DEVICE`` where it runs,
``BENCH_THREADS`` torch's CPU threads, ``BENCH_LEDGER`` the file that gets a line for each
denoiser pass.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from io import BytesIO
from time import monotonic
from typing import Any, Self, TextIO

import PIL.Image
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from engine.denoising.samplers import SAMPLERS


@dataclass(frozen=True, slots=True)
class Order:
    """What a client asks for; with an image it is img2img."""

    prompt: str
    width: int
    height: int
    steps: int
    guidance: float
    scheduler: str
    seed: int
    image: PIL.Image.Image | None = None
    strength: float = 0.8

    @classmethod
    def of(cls, body: dict[str, Any], image: PIL.Image.Image | None = None) -> Self:
        """Read the JSON that a client sent."""
        return cls(
            body["prompt"],
            body["width"],
            body["height"],
            body["num_inference_steps"],
            body["guidance_scale"],
            body["scheduler"],
            body["seed"],
            image,
            body.get("strength", 0.8),
        )

    @property
    def key(self) -> Hashable:
        """Orders with equal keys can share a call of a pipeline: it takes lists of prompts, images
        and generators, and one of everything else."""
        return (
            self.image is None,
            self.width,
            self.height,
            self.steps,
            self.guidance,
            self.scheduler,
            self.strength,
        )


class Stock:
    """Both pipelines around one set of weights.

    Args:
        pipeline: a loaded ``StableDiffusionPipeline``.
        ledger: the file that gets a line for each denoiser pass.
    """

    def __init__(self, pipeline: Any, ledger: TextIO) -> None:
        self._txt2img = pipeline
        self._img2img = StableDiffusionImg2ImgPipeline(
            **pipeline.components, requires_safety_checker=False
        )
        for each in (self._txt2img, self._img2img):
            each.set_progress_bar_config(disable=True)
        self._schedule: Any = pipeline.scheduler.config
        self._seeds: list[int] = []
        self._ledger = ledger
        pipeline.unet.register_forward_pre_hook(self._record)

    @classmethod
    def from_environment(cls) -> Self:
        """Load what the environment names (see the module)."""
        diffusers_logging.disable_progress_bar()
        transformers_logging.disable_progress_bar()
        torch.set_num_threads(int(os.environ["BENCH_THREADS"]))
        pipeline = StableDiffusionPipeline.from_pretrained(
            os.environ["BENCH_MODEL"], local_files_only=True, dtype=torch.float32
        )
        # Line-buffered: a pass is on record even if the process is killed after it.
        ledger = open(os.environ["BENCH_LEDGER"], "a", buffering=1)  # noqa: PTH123, SIM115
        return cls(pipeline.to(os.environ["BENCH_DEVICE"]), ledger)

    def _record(self, _: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        self._ledger.write(f"{monotonic()} {len(arguments[0])} {' '.join(map(str, self._seeds))}\n")

    def forget(self) -> None:
        """Empty the ledger."""
        self._ledger.truncate(0)

    def draw(self, orders: Sequence[Order]) -> list[PIL.Image.Image]:
        """Make the pictures of orders with equal keys in one call."""
        first = orders[0]
        options: dict[str, Any] = {
            "prompt": [order.prompt for order in orders],
            "num_inference_steps": first.steps,
            "guidance_scale": first.guidance,
            "generator": [torch.Generator().manual_seed(order.seed) for order in orders],
        }
        if first.image is None:
            pipeline: Any = self._txt2img
            options |= {"width": first.width, "height": first.height}
        else:
            pipeline = self._img2img
            options |= {"image": [order.image for order in orders], "strength": first.strength}
        pipeline.scheduler = SAMPLERS[first.scheduler].create(self._schedule)
        self._seeds = [order.seed for order in orders]
        pictures: list[PIL.Image.Image] = pipeline(**options).images
        return pictures

    def draw_all(self, orders: Sequence[Order]) -> list[PIL.Image.Image]:
        """Make the pictures of any orders, in as few calls as their keys allow."""
        groups: dict[Hashable, list[int]] = {}
        for place, order in enumerate(orders):
            groups.setdefault(order.key, []).append(place)
        pictures: dict[int, PIL.Image.Image] = {}
        for places in groups.values():
            drawn = self.draw([orders[place] for place in places])
            pictures |= zip(places, drawn, strict=True)
        return [pictures[place] for place in range(len(orders))]


def png(picture: PIL.Image.Image) -> bytes:
    """The picture as a file."""
    file = BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()
