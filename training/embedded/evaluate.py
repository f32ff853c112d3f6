"""The evaluation of a finished model on the held-out pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from training.embedded.judge import Judge, held_out_composites
from training.embedded.measures import border_colour, nearest_colour, psnr
from training.embedded.pictures import (
    GUIDANCE,
    STEPS,
    SWITCH_AT,
    Request,
    draw,
    held_out_requests,
    load_pipeline,
    seconds_per_picture,
)
from training.embedded.refined import Comparison, restoration, sharpness
from training.embedded.scenes import Pixels
from training.embedded.tensors import to_pixels, to_tensor
from training.embedded.world import World
from training.machine import processor

STYLE = "noto"
COMPOSITES_SEED = 20_000


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How often pictures were recognised, as shares of 1."""

    background: float
    top1: float
    top5: float
    pictures: int


@dataclass(frozen=True, slots=True)
class RefinedReport:
    """What a refiner makes of the same requests."""

    switch_at: float
    held_out: Accuracy
    sharpness: Comparison
    restored_psnr_db: Comparison
    megabytes: float


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the report says."""

    pipeline: str
    """The class that the model is loaded by."""
    objects: int
    colours: int
    steps: int
    guidance: float
    held_out: Accuracy
    composites: Accuracy
    """The same measures on real composites of the held-out pairs: the judge's own accuracy."""
    missed: dict[str, list[str]]
    """Objects that were not always recognised, with what the judge took them for."""
    vae_psnr_db: float
    seconds_batch_1: float
    seconds_batch_8: float
    megabytes: float
    threads: int
    machine: str
    date: str
    command: str
    refined: RefinedReport | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The report and the pictures that it judges, in the same order as their requests."""

    report: Report
    requests: list[Request]
    pictures: list[Pixels]
    refined: list[Pixels] | None


def evaluate(
    model: Path,
    judge: Path,
    world: World,
    *,
    device: torch.device,
    per_object: int,
    timing_repeats: int,
    command: str,
    refiner: Path | None = None,
    switch_at: float = SWITCH_AT,
) -> Evaluation:
    """Draw every held-out pair `per_object` times with fixed seeds and let the judge look; with a
    refiner, once more with its help."""
    pipeline = load_pipeline(model, device)
    judging = Judge.load(judge, device)
    requests = held_out_requests(world, per_object)
    pictures = draw(pipeline, requests)
    answers = judging.rank(pictures)
    composites = held_out_composites(world, STYLE, per_object, COMPOSITES_SEED)
    real = [pixels for _, pixels in composites]
    ground = {subject.name: subject.held_out for subject in world.drawn}
    expected = [request.name for request in requests]
    names = [name for name, _ in composites]
    refined: list[Pixels] | None = None
    refined_report: RefinedReport | None = None
    if refiner is not None:
        helper = load_pipeline(refiner, device)
        refined = draw(pipeline, requests, refiner=helper, switch_at=switch_at)
        refined_report = RefinedReport(
            switch_at=switch_at,
            held_out=_accuracy(refined, expected, judging.rank(refined), ground, world),
            sharpness=sharpness(pictures, refined, real),
            restored_psnr_db=restoration(pipeline, helper, world, composites),
            megabytes=round(size_in_megabytes(refiner), 2),
        )
    report = Report(
        pipeline=type(pipeline).__name__,
        objects=len(world.drawn),
        colours=len(world.colours),
        steps=STEPS,
        guidance=GUIDANCE,
        held_out=_accuracy(pictures, expected, answers, ground, world),
        composites=_accuracy(real, names, judging.rank(real), ground, world),
        missed=_missed(expected, answers),
        vae_psnr_db=round(_reconstruction_psnr(pipeline.vae, real), 2),
        seconds_batch_1=round(seconds_per_picture(pipeline, 1, timing_repeats), 3),
        seconds_batch_8=round(seconds_per_picture(pipeline, 8, timing_repeats), 3),
        megabytes=round(size_in_megabytes(model), 2),
        threads=torch.get_num_threads(),
        machine=machine(device),
        date=datetime.now(UTC).date().isoformat(),
        command=command,
        refined=refined_report,
    )
    return Evaluation(report, requests, pictures, refined)


def judge_pictures(
    judge: Judge, world: World, requests: Sequence[Request], pictures: list[Pixels]
) -> Accuracy:
    """How often the pictures of held-out pairs are recognised, in the order of their requests."""
    ground = {subject.name: subject.held_out for subject in world.drawn}
    names = [request.name for request in requests]
    return _accuracy(pictures, names, judge.rank(pictures), ground, world)


def size_in_megabytes(directory: Path) -> float:
    """The size of all files in a directory, in units of 10⁶ bytes."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) / 1e6


def _accuracy(
    pictures: list[Pixels],
    names: Sequence[str],
    answers: list[list[str]],
    ground: dict[str, str],
    world: World,
) -> Accuracy:
    colours = [nearest_colour(border_colour(pixels), world.colours) for pixels in pictures]
    return Accuracy(
        background=_share([c == ground[n] for c, n in zip(colours, names, strict=True)]),
        top1=_share([n == best[0] for n, best in zip(names, answers, strict=True)]),
        top5=_share([n in best for n, best in zip(names, answers, strict=True)]),
        pictures=len(pictures),
    )


def _share(hits: list[bool]) -> float:
    return round(float(np.mean(hits)), 4)


def _missed(names: Sequence[str], answers: list[list[str]]) -> dict[str, list[str]]:
    missed: dict[str, list[str]] = {}
    for name, best in zip(names, answers, strict=True):
        if best[0] != name:
            missed.setdefault(name, []).append(best[0])
    return missed


@torch.no_grad()
def _reconstruction_psnr(vae: AutoencoderKL, pixels: list[Pixels]) -> float:
    """The mean PSNR of pictures that went through the VAE, in dB."""
    copies: list[Pixels] = []
    for start in range(0, len(pixels), 64):
        batch = to_tensor(pixels[start : start + 64]).to(vae.device)
        copies += to_pixels(vae.decode(vae.encode(batch).latent_dist.mode()).sample)
    return float(np.mean([psnr(a, b) for a, b in zip(pixels, copies, strict=True)]))


def machine(device: torch.device) -> str:
    """The name of the processor that computes."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
