"""The training function: the same under `python -m`, `accelerate launch` and Ray Train."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from diffusers.optimization import get_scheduler
from tqdm import tqdm

from engine.weights.memory import release
from models.catalog import ModelEntry
from models.registry import content_hash, revision_of
from training.cluster import Storage
from training.dreambooth.base import (
    Base,
    find_base,
    find_device,
    side_of,
    weights_precision,
)
from training.dreambooth.chance import chance
from training.dreambooth.checkpoint import Checkpoints
from training.dreambooth.drawing import draw, embedded
from training.dreambooth.errors import TrainingError
from training.dreambooth.journal import Journal
from training.dreambooth.material import prepare_material
from training.dreambooth.network import Denoiser, prepare
from training.dreambooth.objective import objective_for
from training.dreambooth.optimizers import make_optimizer
from training.dreambooth.options import Options
from training.dreambooth.result import write_result
from training.dreambooth.run import RunFolder
from training.sheet import contact_sheet

_SHEET_SIDE = 192


def train(options: Options, storage: Storage | None = None) -> None:
    """Train until ``steps`` updates are made, from the latest checkpoint if there is one, and
    leave the result in the run's folder.

    Every process of a run calls it.

    Args:
        storage: for checkpoints and result, where the processes do not all see one folder.

    Raises:
        TrainingError: it cannot start or go on.
        ModelError: the base is not here.
    """
    entry = find_base(options)
    accelerator = Accelerator(
        cpu=find_device(options) == "cpu",
        mixed_precision=options.mixed_precision,
        gradient_accumulation_steps=options.accumulation,
    )
    folder = RunFolder(options.work)
    shape = options.shaping() | {
        "base_revision": revision_of(entry, weights_precision(options)),
        "images": content_hash(options.images),
        "processes": accelerator.num_processes,
    }
    folder.check(shape)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        folder.record(shape)
    if accelerator.device.type == "cpu":
        # Adam's moments fall into the denormal range, where x86 is a hundred times slower.
        torch.set_flush_denormal(True)
    _Training(accelerator, options, entry, folder, storage).run(shape)


class _Training:
    """A run in one of its processes."""

    def __init__(
        self,
        accelerator: Accelerator,
        options: Options,
        entry: ModelEntry,
        folder: RunFolder,
        storage: Storage | None,
    ) -> None:
        self.accelerator, self.options = accelerator, options
        self.entry, self.folder = entry, folder
        self.side = side_of(entry, options)
        self.base = base = Base(entry, weights_precision(options), accelerator.device)
        self.material = material = prepare_material(
            base, options, folder, self.side, shared=storage is None
        )
        architecture = entry.architecture
        self.objective = objective_for(
            architecture.prediction, material.scheduler, options.snr_gamma
        )
        set_seed(options.seed)
        self.denoiser = denoiser = load_denoiser(base, options)
        self.parameters = list(denoiser.trained().values())
        optimizer = make_optimizer(options.optimizer, self.parameters, options.learning_rate)
        self.network, self.optimizer = accelerator.prepare(denoiser, optimizer)
        # By updates, not by processes: accelerate would step a prepared one for each of them.
        self.rate = get_scheduler(
            "constant_with_warmup" if options.schedule == "constant" else options.schedule,
            optimizer,
            num_warmup_steps=options.warmup,
            num_training_steps=options.steps,
        )
        accelerator.register_for_checkpointing(self.rate)
        self.checkpoints = Checkpoints(accelerator, denoiser, folder, storage)

    def run(self, shape: dict[str, Any]) -> None:
        """Train to the end and write the result.

        Args:
            shape: what a run that is gone on with must have in common with this one.
        """
        options, main = self.options, self.accelerator.is_main_process
        first = self.checkpoints.restore(shape)
        journal = Journal(self.folder.log, first) if main else None
        bar = tqdm(
            desc=options.output,
            unit="step",
            total=options.steps,
            initial=first,
            disable=not main,
            smoothing=0.05,
        )
        mean = math.nan
        self.network.train()
        for step in range(first + 1, options.steps + 1):
            start = time.monotonic()
            values = self.update(step)
            mean = values["loss"] if math.isnan(mean) else 0.95 * mean + 0.05 * values["loss"]
            bar.set_postfix(loss=f"{mean:.4f}", refresh=False)
            bar.update()
            if journal is not None:
                seconds = round(time.monotonic() - start, 4)
                journal.write(step, **values, seconds=seconds)
            if options.validation_every and step % options.validation_every == 0:
                self.validate(step)
            if step % options.checkpoint_every == 0 or step == options.steps:
                self.checkpoints.save(step)
        bar.close()
        if main:
            write_result(self.base, self.denoiser, options, self.folder.result)
        self.checkpoints.keep_result(max(first, options.steps), self.folder.result)
        self.accelerator.wait_for_everyone()

    def update(self, step: int) -> dict[str, float]:
        """Update number ``step``, from 1 on. Returns what the log says about it.

        Randomness follows from the number of the update, of the pass within it and of
        the process alone, so that a run that was stopped goes on as if it had not been.
        """
        options, accelerator = self.options, self.accelerator
        total = torch.zeros(2, device=accelerator.device)
        norm = math.nan
        for part in range(options.accumulation):
            with accelerator.accumulate(self.network):
                losses = self.losses(step, part)
                accelerator.backward(losses[0] + options.prior_weight * losses[1])
                total += losses.detach() / options.accumulation
                if accelerator.sync_gradients:
                    norm = float(accelerator.clip_grad_norm_(self.parameters, options.clip))
                    self.refuse_nonsense(step, total, norm)
                self.optimizer.step()
                self.optimizer.zero_grad()
        rate = self.rate.get_last_lr()[0]
        self.rate.step()
        subject, prior = accelerator.reduce(total, "mean").tolist()
        values = {"loss": subject + options.prior_weight * prior, "subject_loss": subject}
        if self.material.prior is not None:
            values["class_loss"] = prior
        return values | {"gradient_norm": norm, "learning_rate": rate}

    def losses(self, step: int, part: int) -> torch.Tensor:
        """The losses of one pass, of the subject and of the class, [2]."""
        options, accelerator = self.options, self.accelerator
        world, rank, count = (
            accelerator.num_processes,
            accelerator.process_index,
            options.batch_size,
        )
        number = ((step - 1) * options.accumulation + part) * world + rank
        generator = chance("pass", options.seed, number)
        drawn = [
            material.draw(number * count, count, options.seed, generator)
            for material in (self.material.subject, self.material.prior)
            if material is not None
        ]
        latents = torch.cat([one for one, _ in drawn])
        timesteps = torch.cat(
            [
                self.objective.timesteps(
                    offset=(part * world + rank) * count,
                    count=count,
                    total=count * options.accumulation * world,
                    generator=generator,
                )
                for _ in drawn
            ]
        )
        noise = torch.randn(latents.shape, generator=generator)
        noisy = self.objective.noisy(latents, noise, timesteps)
        device = accelerator.device
        told = {name: torch.cat([one[name] for _, one in drawn]).to(device) for name in drawn[0][1]}
        prediction = self.network(noisy.to(device), timesteps.to(device), told)
        targets = (one.to(device) for one in (latents, noise, timesteps))
        each = self.objective.losses(prediction, *targets)
        prior = each[count:].mean() if self.material.prior is not None else each.new_zeros(())
        return torch.stack([each[:count].mean(), prior])

    def refuse_nonsense(self, step: int, losses: torch.Tensor, norm: float) -> None:
        """Stop before weights become NaN. (Infinite gradients alone are usual in fp16: the
        gradient scaler leaves such an update out.)"""
        if torch.isfinite(losses).all() and (self.accelerator.scaler or math.isfinite(norm)):
            return
        raise TrainingError(
            f"The loss or its gradient is not a number any more at step {step} (loss "
            f"{losses.tolist()}, gradient {norm}): try a lower --learning-rate. The last "
            "checkpoint is untouched."
        )

    def validate(self, step: int) -> None:
        """Draw a contact sheet, in the main process; the others wait."""
        if self.accelerator.is_main_process:
            self.network.eval()
            self.sheet(self.folder.sheets / f"step-{step:07}.png")
            self.network.train()
            release()
        self.accelerator.wait_for_everyone()

    def sheet(self, file: Path) -> None:
        """Pictures by what is trained, with the base's VAE."""
        options, base, material = self.options, self.base, self.material
        prompts, columns = options.sheet_prompts, options.validation_images
        labels = [prompt for prompt in prompts for _ in range(columns)]
        seeds = list(range(columns)) * len(prompts)
        pipeline = base.load("vae")
        pipeline.register_modules(**{base.family.denoiser: self.denoiser.network})
        pictures = draw(
            pipeline,
            labels,
            seeds,
            side=self.side,
            defaults=self.entry.defaults,
            say=embedded(
                self.denoiser.text, material.prompts, zeros=material.zeros, device=base.device
            ),
        )
        sheet = contact_sheet(labels, list(pictures), columns=columns, side=_SHEET_SIDE)
        file.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(file)


def load_denoiser(base: Base, options: Options) -> Denoiser:
    """What is trained, and nothing else of the base."""
    encoders = base.family.clip if options.train_text_encoder else ()
    pipeline = base.load(base.family.denoiser, *encoders)
    return prepare(
        base.family,
        getattr(pipeline, base.family.denoiser),
        {name: getattr(pipeline, name) for name in encoders},
        base.text_channels,
        options,
    )
