"""Writes an evaluation down: JSON for programs, a page for people, two contact sheets."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from PIL import Image

from training.embedded.evaluate import Accuracy, Evaluation, Report
from training.embedded.world import World
from training.sheet import contact_sheet

README_OBJECTS = (
    "cat", "fox", "panda", "frog", "rabbit", "penguin",
    "red apple", "lemon", "strawberry", "watermelon", "bunch of grapes", "cactus",
    "hamburger", "birthday cake", "mushroom", "red car", "ambulance", "rocket",
)  # fmt: skip
"""What the README shows: a choice of subjects, not of seeds."""

_PAGE = """\
# The embedded model

A small text-to-image model in the format of `StableDiffusionPipeline`, in `models/embedded`. It
draws {objects} things on {colours} background colours, 64 × 64 pixels, and knows nothing else.
Ask in this form: `a red apple on a blue background`.

It exists so that the service can be tried, tested and shown without a download. The numbers here
are about pairs of an object and a background that were never shown to it in training, nor to its
VAE, its text encoder or the judge: one colour of each object is held out.

![Every object on its held-out background](images/embedded-sheet.png)

## Measured

{steps} steps, guidance {guidance:g}, fixed seeds, {pictures} pictures. Bars in brackets.

| | drawn by the model | real composites |
|---|---|---|
| background is the nearest named colour (≥ 98 %) | {background} | {real_background} |
| object, top-1 of {labels} labels (≥ 90 %) | {top1} | {real_top1} |
| object, top-5 | {top5} | {real_top5} |

| | |
|---|---|
| VAE reconstruction of held-out composites | {psnr:.1f} dB |
| seconds a picture at batch 1 (≤ 0.7) | {batch_1:.2f} |
| seconds a picture at batch 8 | {batch_8:.2f} |
| size (≤ 20 MB) | {megabytes:.1f} MB |

Machine: {machine}, {threads} threads, fp32. Date: {date}. Command: `{command}`

The judge is a small ResNet that was trained on composites of two art styles and has never seen a
drawn picture; the right-hand column says how well it reads real composites of the same pairs.
{missed}

## What it draws

{drawn}.

Backgrounds: {grounds}.

## How it was made

`training/embedded` holds the whole recipe, its art included; nothing is downloaded.

    python -m training embedded --out runs/embedded
    python -m training evaluate --model runs/embedded/model --judge runs/embedded/judge \\
        --out runs/embedded/docs

Each stage writes checkpoints, and the same command goes on where it stopped. `--stages` selects
stages, `--init-from` goes on from a finished model with its VAE and text encoder, and
`--device cuda` with a larger `--batch` uses a GPU.

1. **vae**: 64 × 64 pictures to 4 × 16 × 16 latents; a hint that fades out ties three latent
   channels to a thumbnail in the beginning.
2. **text**: a byte-pair vocabulary, and a two-layer CLIP text encoder that learns to tell object,
   colour and style from captions. It is frozen from then on, so captions are encoded once.
3. **unet**: velocity prediction on cached latents, 10 % empty captions, averaged weights.
4. **decoder**: the VAE's decoder alone, which leaves the latents, and so the UNet, as they are.
5. **judge**: the classifier that the evaluation asks.
6. **export**: everything in half precision as a pipeline directory.

The weights in the repository were not made by one such run: {history}
"""

_HISTORY = (
    "VAE encoder, text encoder and a first UNet (203,000 samples) come from a study with the same "
    "architecture, data and held-out pairs, in which the text encoder still learned together with "
    "the UNet; the UNet was then trained for 320,000 samples with `--init-from`, the decoder for "
    "30,000 and the judge for 100,000 (from nothing) by the stages above. A run from nothing was "
    "made only in part: with a new vocabulary and a new, frozen text encoder, a UNet without "
    "former training had 98.6 % of held-out backgrounds and 13 % of objects right after 20,000 "
    "samples. The VAE stage was not run in full."
)


def write_report(evaluation: Evaluation, world: World, docs: Path) -> None:
    """Write `embedded-model.json`, `embedded-model.md` and the sheets under `images/`."""
    images = docs / "images"
    images.mkdir(parents=True, exist_ok=True)
    data = json.dumps(asdict(evaluation.report), indent=2, ensure_ascii=False)
    (docs / "embedded-model.json").write_text(data + "\n", encoding="utf-8")
    page = report_page(evaluation.report, world)
    (docs / "embedded-model.md").write_text(page, encoding="utf-8")
    # The first seed of every object.
    first = {
        request.name: (request, pixels)
        for request, pixels in reversed(
            list(zip(evaluation.requests, evaluation.pictures, strict=True))
        )
    }
    everything = [first[subject.name] for subject in world.drawn]
    shown = [first[name] for name in README_OBJECTS if name in first]
    for name, chosen, columns, side in (
        ("embedded-sheet", everything, 10, 112),
        ("embedded-readme", shown, 6, 144),
    ):
        sheet = contact_sheet(
            [request.prompt for request, _ in chosen],
            [Image.fromarray(pixels) for _, pixels in chosen],
            columns=columns,
            side=side,
        )
        sheet.save(images / f"{name}.png", optimize=True)


def report_page(report: Report, world: World) -> str:
    """The page as Markdown."""
    return _PAGE.format(
        objects=report.objects,
        colours=report.colours,
        steps=report.steps,
        guidance=report.guidance,
        pictures=report.held_out.pictures,
        labels=len(world.subjects),
        psnr=report.vae_psnr_db,
        batch_1=report.seconds_batch_1,
        batch_8=report.seconds_batch_8,
        megabytes=report.megabytes,
        machine=report.machine,
        threads=report.threads,
        date=report.date,
        command=report.command,
        missed=_missed(report),
        drawn=", ".join(subject.name for subject in world.drawn),
        grounds=", ".join(world.colours),
        history=_HISTORY,
        **_shares("", report.held_out),
        **_shares("real_", report.composites),
    )


def _shares(prefix: str, accuracy: Accuracy) -> dict[str, str]:
    return {
        f"{prefix}background": f"{accuracy.background:.1%}",
        f"{prefix}top1": f"{accuracy.top1:.1%}",
        f"{prefix}top5": f"{accuracy.top5:.1%}",
    }


def _missed(report: Report) -> str:
    if not report.missed:
        return "It recognised every picture."
    each = report.held_out.pictures // report.objects
    worst = sorted(report.missed.items(), key=lambda item: -len(item[1]))
    listed = ", ".join(f"{name} ({len(wrong)} of {each})" for name, wrong in worst)
    return f"Not always recognised: {listed}."
