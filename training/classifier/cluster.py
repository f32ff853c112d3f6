"""The classifier's training in the workers of Ray Train: on this machine or on a cluster."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from training.classifier.examples import Examples
from training.classifier.recipe import Recipe
from training.cluster import Cluster, Storage


def train_with_ray(recipe: Recipe, examples: Examples, cluster: Cluster) -> None:
    """Train, and write the model on this machine.

    Pictures must be in the same places on all machines.

    Raises:
        ClusterError: Ray is not installed, or the training failed in a worker.
    """
    kept = cluster.run(_train, (recipe, examples), recipe.out)
    if kept is not None:
        with TemporaryDirectory(prefix="classifier-") as fetched:
            recipe.write(Path(kept.to_directory(fetched)))


def _train(given: tuple[Recipe, Examples], storage: Storage | None) -> None:
    recipe, examples = given
    recipe.train(examples, storage)
