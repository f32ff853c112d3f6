"""How far pictures of quantised models are from those in full precision, and what that saves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

import numpy as np
import torch

from assembly.first_picture import first_request
from contract.request import GenerationRequest, Segment
from engine.pipelines.base import DiffusionModel, SegmentRequest
from engine.pipelines.load import load_model
from models.budget import model_bytes
from models.catalog import ModelEntry, load_catalog
from models.placement import place
from models.quantization import SCHEMES, Scheme, missing_package
from training.machine import describe

PROMPTS = ("a photo of a cat", "an apple on blue", "a red car", "a tree on grey")


def compare_schemes(names: Sequence[str], steps: int) -> None:
    """Print a Markdown table for some models of the catalog, each with all schemes."""
    print(f"{describe()}; {len(PROMPTS)} prompts, {steps} steps\n")
    print("| model | scheme | MB | latents, relative | colours, mean | at most | seconds |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for name in names:
        entry = load_catalog().get(name)
        exact, pictures, seconds = _draw(entry, steps)
        print(f"| {name} | none | {_megabytes(entry)} | | | | {seconds:.1f} |")
        for scheme in SCHEMES:
            _compare(entry, scheme, steps, exact, pictures)


def _compare(
    entry: ModelEntry, scheme: Scheme, steps: int, exact: torch.Tensor, pictures: np.ndarray
) -> None:
    if package := missing_package(scheme):
        print(f"| {entry.name} | {scheme} | {package} is not installed | | | | |")
        return
    quantized = entry.with_quantization({"denoiser": scheme, "t5": scheme})
    latents, others, seconds = _draw(quantized, steps)
    relative = float((latents - exact).norm() / exact.norm())
    differences = abs(others - pictures)
    print(
        f"| {entry.name} | {scheme} | {_megabytes(quantized)} | {relative:.3f} "
        f"| {differences.mean():.2f} | {differences.max()} | {seconds:.1f} |"
    )


def _megabytes(entry: ModelEntry) -> str:
    return f"{sum(model_bytes(entry, place('auto', 'auto').precision).values()) / 1e6:.1f}"


def _draw(entry: ModelEntry, steps: int) -> tuple[torch.Tensor, np.ndarray, float]:
    """Latents ``[prompts, channels, height, width]``, pictures, and the seconds it took."""
    model = load_model(entry, place("auto", "auto"))
    requests = [
        replace(first_request(entry), prompt=prompt, seed=seed, num_inference_steps=steps)
        for seed, prompt in enumerate(PROMPTS)
    ]
    started = perf_counter()
    with torch.inference_mode():
        results = [_one(model, request) for request in requests]
    seconds = perf_counter() - started
    latents = torch.cat([latent for latent, _ in results])
    return latents, np.stack([picture for _, picture in results]), seconds


def _one(model: DiffusionModel, request: GenerationRequest) -> tuple[torch.Tensor, np.ndarray]:
    (state,) = model.prepare([SegmentRequest(request, Segment(request.model))])
    while not state.finished:
        (prediction,) = model.forward([state], state.rows)
        state.advance(prediction)
    (picture,) = model.decode([state])
    if isinstance(picture, ArithmeticError):
        raise picture
    return state.latents.cpu(), np.asarray(picture).astype(int)
