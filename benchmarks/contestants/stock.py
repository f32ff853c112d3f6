"""The stock diffusers pipelines that the contestants have in common, and a ledger of their passes.

Environment: ``BENCH_MODELS`` is the folder with the pipelines' folders, ``BENCH_DEVICE`` where they
run, ``BENCH_THREADS`` torch's CPU threads, ``BENCH_LEDGER`` the file that gets a line for each
denoiser pass.
"""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from time import monotonic
from typing import Any, Self, TextIO

import diffusers
import PIL.Image
import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from engine.denoising.samplers import FLOW_SAMPLERS, SAMPLERS
from models.architectures import ARCHITECTURES


@dataclass(frozen=True, slots=True)
class Order:
    """What a client asks for; with an image it is img2img.

    Attributes:
        switch_at: with it, the base leaves the rest of the noise schedule to its refiner.
        latents: of a base, which its refiner goes on with.
    """

    prompt: str
    width: int
    height: int
    steps: int
    guidance: float
    scheduler: str
    seed: int
    image: PIL.Image.Image | None = None
    strength: float = 0.8
    switch_at: float | None = None
    latents: torch.Tensor | None = None
    negative_prompt: str | None = None

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
            body.get("refiner", {}).get("switch_at"),
        )

    def refine(self, latents: torch.Tensor) -> Self:
        """What a refiner is asked for, once the base has made ``[channels, height, width]``."""
        return replace(self, image=None, latents=latents)

    @property
    def key(self) -> Hashable:
        """Orders with equal keys can share a call of a pipeline: it takes lists of prompts, images
        and generators, and one of everything else."""
        return (
            self.image is None,
            self.latents is None,
            self.width,
            self.height,
            self.steps,
            self.guidance,
            self.scheduler,
            self.strength,
            self.switch_at,
            self.negative_prompt,
        )


class Stock:
    """The pipelines around one set of weights.

    Args:
        pipeline: a loaded one for txt2img, or a refiner.
        ledger: the file that gets a line for each denoiser pass.
    """

    def __init__(self, pipeline: Any, ledger: TextIO) -> None:
        self._txt2img = pipeline
        self._img2img = _for_pictures(pipeline)
        for each in (self._txt2img, self._img2img):
            each.set_progress_bar_config(disable=True)
        self._schedule: Any = pipeline.scheduler.config
        self._flow = "transformer" in pipeline.components
        self._samplers = FLOW_SAMPLERS if self._flow else SAMPLERS
        self._seeds: list[int] = []
        self._ledger = ledger
        denoiser = pipeline.transformer if self._flow else pipeline.unet
        denoiser.register_forward_pre_hook(self._record, with_kwargs=True)

    @classmethod
    def from_environment(cls, model: str = "embedded") -> Self:
        """Load a model; the environment says the rest (see the module)."""
        diffusers_logging.disable_progress_bar()
        transformers_logging.disable_progress_bar()
        torch.set_num_threads(int(os.environ["BENCH_THREADS"]))
        folder = Path(os.environ["BENCH_MODELS"]) / model
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        # diffusers wants to be told of what it does not find.
        absent = {name: None for name, source in index.items() if source == [None, None]}
        pipeline = diffusers.DiffusionPipeline.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, **absent
        )
        # Line-buffered: a pass is on record even if the process is killed after it.
        ledger = open(os.environ["BENCH_LEDGER"], "a", buffering=1)  # noqa: PTH123, SIM115
        return cls(pipeline.to(os.environ["BENCH_DEVICE"]), ledger)

    def _record(
        self,
        _: torch.nn.Module,
        arguments: tuple[torch.Tensor, ...],
        named: dict[str, torch.Tensor],
    ) -> None:
        rows = len(arguments[0] if arguments else named["hidden_states"])
        self._ledger.write(f"{monotonic()} {rows} {' '.join(map(str, self._seeds))}\n")

    def forget(self) -> None:
        """Empty the ledger."""
        self._ledger.truncate(0)

    def draw(self, orders: Sequence[Order]) -> Sequence[Any]:
        """Make the pictures of orders with equal keys in one call, or the latents that the refiner
        is to go on with."""
        first = orders[0]
        options: dict[str, Any] = {
            "prompt": [order.prompt for order in orders],
            "num_inference_steps": first.steps,
            "guidance_scale": first.guidance,
            "generator": [torch.Generator().manual_seed(order.seed) for order in orders],
        }
        if first.negative_prompt is not None:
            options["negative_prompt"] = [first.negative_prompt] * len(orders)
        pipeline: Any = self._img2img
        if first.latents is not None:
            latents = [order.latents for order in orders if order.latents is not None]
            options |= {"image": torch.stack(latents), "denoising_start": first.switch_at}
        else:
            if first.switch_at is not None:
                options |= {"denoising_end": first.switch_at, "output_type": "latent"}
            if first.image is None:
                pipeline = self._txt2img
            else:
                options |= {
                    "image": [order.image for order in orders],
                    "strength": first.strength,
                }
            if first.image is None or self._flow:
                options |= {"width": first.width, "height": first.height}
        pipeline.scheduler = self._samplers[first.scheduler].create(self._schedule)
        self._seeds = [order.seed for order in orders]
        pictures: Sequence[Any] = pipeline(**options).images
        return pictures

    def draw_all(self, orders: Sequence[Order]) -> list[Any]:
        """Make what any orders ask for, in as few calls as their keys allow."""
        groups: dict[Hashable, list[int]] = {}
        for place, order in enumerate(orders):
            groups.setdefault(order.key, []).append(place)
        pictures: dict[int, Any] = {}
        for places in groups.values():
            drawn = self.draw([orders[place] for place in places])
            pictures |= zip(places, drawn, strict=True)
        return [pictures[place] for place in range(len(orders))]


def _for_pictures(pipeline: Any) -> Any:
    """The pipeline for img2img around the same weights."""
    names = next(
        known.pipelines
        for known in ARCHITECTURES.values()
        if type(pipeline).__name__ in known.pipelines
    )
    if type(pipeline).__name__ == names[1]:
        return pipeline
    options: dict[str, Any] = {}
    if "safety_checker" in pipeline.config:
        options["requires_safety_checker"] = False
    if "force_zeros_for_empty_prompt" in pipeline.config:
        options["force_zeros_for_empty_prompt"] = pipeline.config.force_zeros_for_empty_prompt
    return getattr(diffusers, names[1])(**pipeline.components, **options)


def png(picture: PIL.Image.Image) -> bytes:
    """The picture as a file."""
    file = BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()
