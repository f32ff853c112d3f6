"""The training run: transformers' Trainer, resumable, and the test at its end."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments, ViTForImageClassification
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import TrainerCallback, TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint

from training.classifier import network
from training.classifier.augment import augment
from training.classifier.examples import Examples
from training.cluster import Storage
from training.embedded.dice import seeded

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Where to work and how much."""

    out: Path
    samples: int
    """Pictures to learn from in total, also when resuming."""
    init_from: Path | None = None
    """A ViT to fine-tune."""
    batch: int = 64
    """Pictures of an update, of each process."""
    learning_rate: float = 1e-3
    workers: int = 0
    """Processes that prepare pictures; 0 for none of their own."""
    save_every: int = 200
    """Updates between two checkpoints."""
    seed: int = 0
    device: str = "cpu"

    @property
    def model(self) -> Path:
        """Where the finished classifier is written."""
        return self.out / "model"

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are written, each in a folder of its own."""
        return self.out / "checkpoints"

    def train(self, examples: Examples, storage: Storage | None = None) -> None:
        """Train, going on from the last checkpoint in `out`, and write the model.

        Every process of a run calls it.

        Args:
            storage: for checkpoints, where the processes do not all see `out`.
        """
        vit, processor = self._start(examples.labels)
        trainer = ResumableTrainer(
            model=vit,
            args=self._arguments(),
            train_dataset=Training(examples, processor, self.samples, self.seed),
        )
        checkpoints = Path(trainer.args.output_dir)
        if storage is not None:
            trainer.add_callback(_Keeping(storage))
            storage.latest(checkpoints)
        last = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
        if last is not None and _updates(Path(last)) >= trainer.args.max_steps:
            # The Trainer returns at once there, with the weights that it was given.
            vit = network.load_checkpoint(Path(last))
        else:
            trainer.train(resume_from_checkpoint=last)
        if trainer.is_world_process_zero():
            network.save(vit.cpu(), processor, self.model)

    def write(self, checkpoint: Path) -> None:
        """Write the model as a checkpoint has it."""
        network.save(network.load_checkpoint(checkpoint).cpu(), self._processor(), self.model)

    def _processor(self) -> ViTImageProcessorPil:
        if self.init_from is None:
            return network.new_processor()
        return network.load_processor(self.init_from)

    def _start(
        self, labels: tuple[str, ...]
    ) -> tuple[ViTForImageClassification, ViTImageProcessorPil]:
        torch.manual_seed(self.seed)
        if self.init_from is None:
            return network.new_network(labels), self._processor()
        return network.load_network(self.init_from, labels), self._processor()

    def _arguments(self) -> TrainingArguments:
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        return TrainingArguments(
            output_dir=str(self.checkpoints),
            max_steps=-(-self.samples // (self.batch * processes)),
            per_device_train_batch_size=self.batch,
            learning_rate=self.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=0.05,
            weight_decay=0.05,
            label_smoothing_factor=0.05,
            max_grad_norm=1.0,
            logging_steps=50,
            save_steps=self.save_every,
            save_total_limit=2,
            dataloader_num_workers=self.workers,
            remove_unused_columns=False,
            report_to="none",
            seed=self.seed,
            use_cpu=self.device == "cpu",
        )


class _Keeping(TrainerCallback):
    """Puts each checkpoint into the storage, when it is written."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def on_save(self, args: TrainingArguments, state: TrainerState, control: Any, **_: Any) -> None:
        """The Trainer calls it in every process."""
        name = f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
        whole = Path(args.output_dir) / name
        self._storage.keep(whole if state.is_world_process_zero else None, name)


class ResumableTrainer(Trainer):
    """A Trainer whose checkpoints are read as they are written.

    ``save_pretrained`` writes a ViT's weights under their older names, and the Trainer loads a
    checkpoint by the module's own: it would go on with layers at random, with no more than a
    warning. ``from_pretrained`` knows both.
    """

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        saved = network.load_checkpoint(Path(resume_from_checkpoint))
        (model or self.model).load_state_dict(saved.state_dict())


def _updates(checkpoint: Path) -> int:
    """How many updates a checkpoint has behind it."""
    return int(TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME)).global_step)


class Training(Dataset[Item]):
    """Training pictures as the network takes them: item i is the same in every run."""

    def __init__(
        self, examples: Examples, processor: ViTImageProcessorPil, samples: int, seed: int
    ) -> None:
        self._examples, self._processor = examples, processor
        self._samples, self._seed = samples, seed

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, index: int) -> Item:
        """`pixel_values`, floats of shape [3, height, width], and `labels`, a number."""
        rng = seeded(self._seed * 1_000_003 + index)
        example = self._examples.training(index, rng)
        picture = augment(example.picture, network.side(self._processor), rng)
        values = self._processor(picture, return_tensors="pt")["pixel_values"][0]
        return {"pixel_values": values, "labels": example.label}
