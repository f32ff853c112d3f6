"""The same training in the workers of Ray Train: on this machine or on a cluster."""

from __future__ import annotations

import os
from typing import Any

import torch

from training.dreambooth.base import find_device
from training.dreambooth.errors import TrainingError
from training.dreambooth.loop import train
from training.dreambooth.options import Options
from training.dreambooth.run import RunFolder


def train_with_ray(options: Options, workers: int) -> None:
    """Train in ``workers`` processes, each with a GPU or with a share of this machine's cores.

    On a cluster that is running already (``RAY_ADDRESS``), its machines must see the folders of
    the options under the same names.

    Raises:
        TrainingError: Ray is not installed, or the training failed in a worker.
    """
    # Nothing is reported to anybody.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
    except ImportError as error:
        raise TrainingError(
            f"--ray-workers needs Ray Train ({error}): pip install -r requirements-ray.txt"
        ) from error
    cuda = find_device(options) == "cuda"
    trainer = TorchTrainer(
        _work,
        train_loop_config={
            "options": options,
            "threads": max(1, torch.get_num_threads() // workers),
        },
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=cuda),
        run_config=RunConfig(name=options.output, storage_path=str(RunFolder(options.work).ray)),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        # Tracebacks of all workers, which are in the log already; the last line says it.
        reason = str(error).strip().splitlines()[-1]
        raise TrainingError(f"Training failed in a worker of Ray Train: {reason}") from error
    finally:
        ray.shutdown()


def _work(config: dict[str, Any]) -> None:
    torch.set_num_threads(config["threads"])
    train(config["options"])
