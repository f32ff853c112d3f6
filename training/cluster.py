"""Ray Train: a training function in several processes, on this machine or on a cluster."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from models.bucket import SCHEME
from training.numbers import whole

if TYPE_CHECKING:
    from ray.train import Checkpoint

_THREADS: Final = "torch threads"
# What Ray itself writes of a run, in the run's folder.
OWN_FOLDER: Final = "ray"


def add_arguments(group: argparse._ArgumentGroup) -> None:
    """Add the options of a command that may run on Ray Train."""
    add = group.add_argument
    add("--ray-workers", type=whole(1), help="train in so many workers of Ray Train")
    add(
        "--storage",
        type=_bucket,
        help="s3://bucket/prefix for checkpoints of Ray's workers, if their machines share no "
        "folder",
    )
    add(
        "--max-failures",
        type=whole(-1),
        default=3,
        help="how often lost workers of Ray are started again, from the last checkpoint; "
        "-1: always",
    )


def cluster_of(given: argparse.Namespace, *, cuda: bool) -> Cluster | None:
    """The cluster that the options name; None for no Ray.

    Args:
        cuda: whether each worker has a GPU.

    Raises:
        ClusterError: there is a storage without Ray.
    """
    if given.ray_workers is not None:
        return Cluster(given.ray_workers, cuda, given.storage, given.max_failures)
    if given.storage is not None:
        raise ClusterError("--storage is for the workers of Ray: give --ray-workers, too.")
    return None


class ClusterError(Exception):
    """Ray is not installed, or the training failed more often than it may. The message says so."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the workers are and what becomes of their checkpoints.

    Attributes:
        workers: processes, each with a GPU or with a share of this machine's cores.
        cuda: whether each has a GPU.
        storage: ``s3://bucket/prefix`` for checkpoints, where the machines share no folder; None
            where they see the run's own under one name.
        max_failures: how often lost or failed workers are started again, from the last checkpoint.
    """

    workers: int
    cuda: bool
    storage: str | None
    max_failures: int

    def run(
        self,
        function: Callable[[Any, Storage | None], None],
        argument: Any,
        folder: Path,
        *,
        restart: bool = False,
    ) -> Checkpoint | None:
        """Call ``function(argument, storage)`` in every worker. A cluster that is running already
        is named by ``RAY_ADDRESS``.

        Args:
            folder: of the run, by whose name it is known in the storage: there it goes on from its
                last checkpoint.
            restart: forget that one.

        Returns:
            The last checkpoint in the storage; None if there is none.

        Raises:
            ClusterError: Ray is not installed, or it failed.
        """
        # Nothing is reported to anybody.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
            from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
            from ray.train.torch import TorchTrainer
        except ImportError as error:
            raise ClusterError(
                f"--ray-workers needs Ray Train ({error}): pip install -r requirements-ray.txt"
            ) from error
        if restart and self.storage is not None:
            _forget(self.storage, folder.name)
        trainer = TorchTrainer(
            _work,
            train_loop_config={
                "function": function,
                "argument": argument,
                "storage": None if self.storage is None else Storage(),
                _THREADS: max(1, torch.get_num_threads() // self.workers),
            },
            scaling_config=ScalingConfig(num_workers=self.workers, use_gpu=self.cuda),
            run_config=RunConfig(
                name=folder.name,
                storage_path=self.storage or str(folder / OWN_FOLDER),
                failure_config=FailureConfig(max_failures=self.max_failures),
                checkpoint_config=CheckpointConfig(num_to_keep=1),
            ),
        )
        try:
            return trainer.fit().checkpoint
        except ray.train.TrainingFailedError as error:
            # Tracebacks of all workers, which are in the log already; the last line says it.
            reason = str(error).strip().splitlines()[-1]
            raise ClusterError(f"Training failed in a worker of Ray Train: {reason}") from error
        finally:
            ray.shutdown()


class Storage:
    """Keeps a run's checkpoints where all machines find them, though none sees another one's disk.
    For workers."""

    def latest(self, folder: Path) -> Path | None:
        """The run's last checkpoint, in ``folder``, where nothing else is left: the others do not
        have what is on this disk besides. None if there is none. All workers call it."""
        from ray import train

        kept = train.get_checkpoint()
        whole = None if kept is None else folder / Path(kept.path).name
        if train.get_context().get_local_rank() == 0:
            folder.mkdir(parents=True, exist_ok=True)
            for path in folder.iterdir():
                if path != whole:
                    shutil.rmtree(path)
            if kept is not None and whole is not None and not whole.exists():
                partial = folder / "fetched"
                kept.to_directory(partial)
                partial.rename(whole)
        torch.distributed.barrier()
        return whole

    def keep(self, checkpoint: Path | None, name: str) -> None:
        """Put a checkpoint there. All workers call it; one of them has the folder."""
        from ray import train

        kept = None if checkpoint is None else train.Checkpoint.from_directory(checkpoint)
        train.report({}, checkpoint=kept, checkpoint_dir_name=name)


def _work(config: dict[str, Any]) -> None:
    torch.set_num_threads(config[_THREADS])
    config["function"](config["argument"], config["storage"])


def _bucket(text: str) -> str:
    if not text.startswith(SCHEME):
        raise argparse.ArgumentTypeError(f"must begin with {SCHEME}, is {text}")
    return text.rstrip("/")


def _forget(storage: str, name: str) -> None:
    from pyarrow import fs

    system, path = fs.FileSystem.from_uri(storage)
    if system.get_file_info(f"{path}/{name}").type != fs.FileType.NotFound:
        system.delete_dir(f"{path}/{name}")
