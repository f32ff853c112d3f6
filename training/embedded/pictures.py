"""Pictures from a trained model, by the stock diffusers pipelines."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, StableDiffusion3Pipeline
from tqdm import tqdm

from training.embedded.captions import prompt
from training.embedded.mmdit import counting_zeros
from training.embedded.scenes import SIDE, Pixels
from training.embedded.world import World

STEPS = 20
GUIDANCE = 3.0
SWITCH_AT = 0.8
_BATCH = 23


@dataclass(frozen=True, slots=True)
class Request:
    """A picture to make of an object on a colour."""

    name: str
    colour: str
    seed: int

    @property
    def prompt(self) -> str:
        """The sentence the model is given."""
        return prompt(self.name, self.colour)


def held_out_requests(world: World, per_subject: int) -> list[Request]:
    """Every drawn object on its held-out colour, each with its own fixed seeds."""
    return [
        Request(subject.name, subject.held_out, 1000 * repeat + number)
        for repeat in range(per_subject)
        for number, subject in enumerate(world.drawn)
    ]


def pipeline_class(directory: Path) -> str:
    """The name of the class that a pipeline directory's index names."""
    return str(_index(directory)["_class_name"])


def load_pipeline(directory: Path, device: torch.device) -> Any:
    """The model as anybody else would load it, in fp32: the pipeline that its index names."""
    index = _index(directory)
    # Of Stable Diffusion 3, diffusers wants to be told that there is no T5.
    absent = {name: None for name, value in index.items() if value == [None, None]}
    pipeline = DiffusionPipeline.from_pretrained(
        directory, dtype=torch.float32, local_files_only=True, **absent
    ).to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(
    pipeline: Any,
    requests: Sequence[Request],
    guidance: float = GUIDANCE,
    refiner: Any = None,
    switch_at: float = SWITCH_AT,
) -> list[Pixels]:
    """One RGB picture [64, 64, 3] per request. Noise comes from the request's seed alone.

    Args:
        pipeline: the model's.
        requests: what to draw.
        guidance: the scale of classifier-free guidance.
        refiner: the pipeline that does the rest of the steps, if any.
        switch_at: the part of the noise levels, 0..1, that the model itself does then.
    """
    pictures: list[Pixels] = []
    for part in tqdm(list(_chunks(requests)), desc="pictures", unit="batch"):
        said: dict[str, Any] = {
            "prompt": [request.prompt for request in part],
            "num_inference_steps": STEPS,
            "guidance_scale": guidance,
            "generator": [torch.Generator().manual_seed(request.seed) for request in part],
        }
        if isinstance(pipeline, StableDiffusion3Pipeline):
            with counting_zeros(pipeline) as zeros:
                result = pipeline(**said, **zeros, width=SIDE, height=SIDE)
        elif refiner is None:
            result = pipeline(**said, width=SIDE, height=SIDE)
        else:
            begun = pipeline(
                **said, width=SIDE, height=SIDE, denoising_end=switch_at, output_type="latent"
            )
            result = refiner(**said, image=begun.images, denoising_start=switch_at)
        pictures += [np.asarray(image) for image in result.images]
    return pictures


def seconds_per_picture(
    pipeline: Any, batch: int, repeats: int, guidance: float = GUIDANCE
) -> float:
    """The median wall-clock time of a picture in batches of the given size."""
    request = Request("cat", "blue", 0)
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        pipeline(
            [request.prompt] * batch,
            width=SIDE,
            height=SIDE,
            num_inference_steps=STEPS,
            guidance_scale=guidance,
        )
        times.append((time.perf_counter() - start) / batch)
    # The first call warms up.
    return float(np.median(times[1:]))


def _index(directory: Path) -> dict[str, Any]:
    index: dict[str, Any] = json.loads((directory / "model_index.json").read_text(encoding="utf-8"))
    return index


def _chunks(requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
    for start in range(0, len(requests), _BATCH):
        yield requests[start : start + _BATCH]
