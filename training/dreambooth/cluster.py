"""DreamBooth in the workers of Ray Train: on this machine or on a cluster."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from training.cluster import Cluster
from training.dreambooth.checkpoint import RESULT
from training.dreambooth.loop import train
from training.dreambooth.options import Options
from training.dreambooth.run import RunFolder


def train_with_ray(options: Options, cluster: Cluster, *, restart: bool = False) -> None:
    """Train, and leave the result in the run's folder of this machine.

    Pictures and base must be in the same places on all machines.

    Args:
        restart: start over, not from the last checkpoint.

    Raises:
        ClusterError: Ray is not installed, or the training failed in a worker.
    """
    folder = RunFolder(options.work)
    kept = cluster.run(train, options, folder.path, restart=restart)
    if kept is None:
        return
    with TemporaryDirectory(prefix="dreambooth-") as fetched:
        kept.to_directory(fetched)
        shutil.rmtree(folder.result, ignore_errors=True)
        folder.path.mkdir(parents=True, exist_ok=True)
        shutil.move(Path(fetched) / RESULT, folder.result)
