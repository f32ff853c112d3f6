"""Checkpoints of a run: each is whole or not there, and the latest is enough to go on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from training.dreambooth.errors import TrainingError
from training.dreambooth.network import Denoiser

_WEIGHTS = "trained.safetensors"


class Checkpoints:
    """Saves and restores what accelerate knows of a run: weights, optimiser, learning rate,
    gradient scaler, random generators. Of the weights, only those that are trained.

    Args:
        accelerator: with everything prepared and registered.
        denoiser: not wrapped.
    """

    def __init__(self, accelerator: Accelerator, denoiser: Denoiser, folder: Path) -> None:
        self._accelerator, self._denoiser, self._folder = accelerator, denoiser, folder
        accelerator.register_save_state_pre_hook(self._save_weights)
        accelerator.register_load_state_pre_hook(self._load_weights)

    def save(self, step: int) -> None:
        """Write the state after ``step`` updates; then the one before is deleted.

        Raises:
            TrainingError: it could not be written; the one before is still there.
        """
        accelerator = self._accelerator
        before = self._latest()
        partial, whole = self._folder / "partial", self._path(step)
        if whole == before:
            return
        try:
            if accelerator.is_main_process:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
            accelerator.wait_for_everyone()
            accelerator.save_state(str(partial))
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                partial.rename(whole)
                for path in self._all():
                    if path != whole:
                        shutil.rmtree(path)
            accelerator.wait_for_everyone()
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            # torch and safetensors have errors of their own for a full disk.
            raise TrainingError(
                f"The checkpoint of step {step} could not be written to {self._folder}: {error}. "
                + (f"The last one is {before.name}." if before else "There is none before it.")
            ) from error

    def restore(self) -> int:
        """Go back to the latest checkpoint; returns its number of updates, 0 without any."""
        latest = self._latest()
        if latest is None:
            return 0
        self._accelerator.load_state(str(latest))
        return int(latest.name.removeprefix("step-"))

    def _path(self, step: int) -> Path:
        return self._folder / f"step-{step:07}"

    def _latest(self) -> Path | None:
        return max(self._all(), default=None)

    def _all(self) -> list[Path]:
        return list(self._folder.glob("step-*"))

    def _save_weights(self, models: list[Any], weights: list[Any], folder: str) -> None:
        # accelerate writes what is left in this list: nothing of the base.
        weights.clear()
        if self._accelerator.is_main_process:
            trained = {
                name: parameter.detach().cpu().contiguous()
                for name, parameter in self._denoiser.trained().items()
            }
            save_file(trained, Path(folder) / _WEIGHTS)

    @torch.no_grad()
    def _load_weights(self, models: list[Any], folder: str) -> None:
        models.clear()
        saved = load_file(Path(folder) / _WEIGHTS)
        for name, parameter in self._denoiser.trained().items():
            parameter.copy_(saved[name])
