"""Checkpoints of a run: each is whole or not there, and the latest is enough to go on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Final

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from training.cluster import Storage
from training.dreambooth.errors import TrainingError
from training.dreambooth.network import Denoiser
from training.dreambooth.run import RunFolder

# In the last checkpoint of a run with a storage, beside the state: what it has made.
RESULT: Final = "result"
_FINISHED: Final = "finished-"
_WEIGHTS: Final = "trained.safetensors"


class Checkpoints:
    """Saves and restores what accelerate knows of a run: weights, optimiser, learning rate,
    gradient scaler, random generators. Of the weights, only those that are trained.

    Args:
        accelerator: with everything prepared and registered.
        denoiser: not wrapped.
        folder: for the run's checkpoints.
        storage: where they are kept besides, if the processes do not all see that folder.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        denoiser: Denoiser,
        folder: RunFolder,
        storage: Storage | None = None,
    ) -> None:
        self._accelerator, self._denoiser = accelerator, denoiser
        self._run, self._folder, self._storage = folder, folder.checkpoints, storage
        self._finished = False
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
                self._run.copy_record(partial)
                partial.rename(whole)
                for path in self._all():
                    if path != whole:
                        shutil.rmtree(path)
            accelerator.wait_for_everyone()
            self._finished = False
            self._keep(whole)
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            # torch and safetensors have errors of their own for a full disk.
            raise TrainingError(
                f"The checkpoint of step {step} could not be written to {self._folder}: {error}. "
                + (f"The last one is {before.name}." if before else "There is none before it.")
            ) from error

    def restore(self, shape: dict[str, Any]) -> int:
        """Go back to the latest checkpoint; returns its number of updates, 0 without any.

        Args:
            shape: of this run.

        Raises:
            TrainingError: that one is of another kind of run.
        """
        latest = self._storage.latest(self._folder) if self._storage else self._latest()
        if latest is None:
            return 0
        self._run.check(shape, latest)
        self._accelerator.load_state(str(latest))
        self._finished = latest.name.startswith(_FINISHED)
        return int(latest.name.rpartition("-")[2])

    def keep_result(self, step: int, result: Path) -> None:
        """Put what the run has made into the storage, with its last checkpoint, unless that came
        from there with it."""
        if self._storage is None or self._finished:
            return
        whole = self._path(step)
        if self._accelerator.is_main_process:
            shutil.rmtree(whole / RESULT, ignore_errors=True)
            shutil.copytree(result, whole / RESULT, copy_function=os.link)
        self._keep(whole, prefix=_FINISHED)

    def _keep(self, whole: Path, prefix: str = "") -> None:
        if self._storage is not None:
            main = self._accelerator.is_main_process
            self._storage.keep(whole if main else None, f"{prefix}{whole.name}")

    def _path(self, step: int) -> Path:
        return self._folder / f"step-{step:07}"

    def _latest(self) -> Path | None:
        return max(self._all(), default=None)

    def _all(self) -> list[Path]:
        return list(self._folder.glob("*step-*"))

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
