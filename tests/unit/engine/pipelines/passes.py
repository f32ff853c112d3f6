"""Passes of a denoiser over random rows."""

from __future__ import annotations

from typing import Any

import torch

from engine.pipelines.pass_shape import PassShape


def random_inputs(denoiser: Any, shape: PassShape) -> dict[str, Any]:
    """By the names of the arguments; the same for the same number of rows."""
    generator = torch.Generator().manual_seed(shape.rows)
    inputs = shape.inputs(denoiser)
    for tensor in tensors(inputs):
        tensor.normal_(generator=generator)
    inputs["timestep"].uniform_(0, 999, generator=generator)
    return inputs


def tensors(inputs: dict[str, Any]) -> list[torch.Tensor]:
    """All of them, those in a mapping too."""
    rest = dict(inputs)
    added = rest.pop("added_cond_kwargs", {})
    return [*rest.values(), *added.values()]


def predict(denoiser: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """A pass, as the families make it."""
    with torch.inference_mode():
        prediction: torch.Tensor = denoiser(**inputs, return_dict=False)[0]
    return prediction
