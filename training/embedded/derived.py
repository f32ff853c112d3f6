"""The recipe of a model in a larger format, made of a finished embedded one: resumable."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import torch

from training.embedded.cache import build_cache, load_cache
from training.embedded.formats import FORMATS, Format, FormatName, Source
from training.embedded.loop import LoopSettings, train
from training.embedded.recipe import DRAWN_STYLE
from training.embedded.vae import load_vae
from training.embedded.world import load_world

DERIVED_STAGES: Final = ("start", "denoiser", "export")


@dataclass(frozen=True, slots=True)
class DerivedRecipe:
    """Where to work and how much."""

    out: Path
    format: FormatName
    source: Path
    """The embedded model's pipeline directory."""
    initial: Path | None = None
    """A finished model of the format, whose denoiser is what the training begins with."""
    samples: int | None = None
    """That the denoiser learns from in total, also when resuming; by default the format's."""
    scenes_per_object: int = 120
    fit_updates: int = 2000
    """Of what is learned from captions alone, before the training."""
    batch: int = 64
    device: str = "cpu"
    processes: int = 1
    seed: int = 0
    checkpoint_seconds: float = 120.0

    @property
    def cache(self) -> Path:
        """The cached latents and captions that the denoiser is trained on."""
        return self.out / "cache.safetensors"

    @property
    def start(self) -> Path:
        """The pipeline that the training begins with."""
        return self.out / "start"

    @property
    def checkpoint(self) -> Path:
        """The denoiser's checkpoint."""
        return self.out / "checkpoints" / "denoiser.pt"

    @property
    def model(self) -> Path:
        """Where the finished pipeline is written."""
        return self.out / "model"

    def run(self, stages: tuple[str, ...] = DERIVED_STAGES) -> None:
        """Run some stages in their natural order. A stage that is complete returns at once."""
        for stage, action in zip(
            DERIVED_STAGES, (self._start, self._denoiser, self._export), strict=True
        ):
            if stage in stages:
                action()

    def _start(self) -> None:
        if self.start.exists():
            return
        source, form = Source(self.source), self._format
        pipeline = form.start(source).to(self.device)
        build_cache(
            self.cache,
            load_world(),
            # All formats have the latents of the embedded model.
            load_vae(self.source / "vae"),
            partial(form.encode, pipeline),
            style=DRAWN_STYLE,
            scenes_per_object=self.scenes_per_object,
            device=torch.device(self.device),
            seed=self.seed,
            zeros=form.zeros,
            soft_share=form.soft_share,
        )
        pipeline.to("cpu")
        cached = load_cache(self.cache)
        # Zeros, which stand for no caption, come last.
        told = {
            name: rows[: int(cached.order.max()) + 1] for name, rows in cached.conditions.items()
        }
        if self.initial is None:
            form.adapt(pipeline, source, told, self.fit_updates)
        else:
            denoiser = getattr(pipeline, form.denoiser)
            known = type(denoiser).from_pretrained(self.initial / form.denoiser)
            denoiser.load_state_dict(known.state_dict())
        part = self.start.with_name("start.partial")
        shutil.rmtree(part, ignore_errors=True)
        pipeline.save_pretrained(part)
        part.rename(self.start)

    def _denoiser(self) -> None:
        form = self._format
        samples = self.samples or form.samples
        settings = LoopSettings(
            name="denoiser",
            checkpoint=self.checkpoint,
            samples=samples,
            warmup=min(200, samples // self.batch // 20),
            learning_rate=form.learning_rate,
            orthogonal=form.orthogonal,
            batch=self.batch,
            processes=self.processes,
            device=self.device,
            seed=self.seed,
            checkpoint_seconds=self.checkpoint_seconds,
        )
        train(settings, form.plan(self.cache, self.start / form.denoiser, Source(self.source)))

    def _export(self) -> None:
        """Assemble the pipeline in half precision, out of what is trained so far."""
        form = self._format
        pipeline = form.start(Source(self.source))
        pipeline.register_modules(**{form.denoiser: form.finish(self.checkpoint)})
        shutil.rmtree(self.model, ignore_errors=True)
        pipeline.to(torch.float16).save_pretrained(self.model)

    @property
    def _format(self) -> Format:
        return FORMATS[self.format]
