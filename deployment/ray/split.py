"""The split: what each engine deployment is to serve, of what settings and arguments say."""

from __future__ import annotations

from collections.abc import Sequence

from assembly import startup
from deployment.ray.arguments import Engines
from models.catalog import Catalog
from models.placement import Placement
from settings import Settings


class UnusableSplit(ValueError):
    """Deployments that could not serve their models."""


def check_settings(settings: Settings) -> None:
    """Refuse settings that several processes cannot follow.

    Raises:
        UnusableSplit: says in a sentence which.
    """
    source = settings.model_source
    if source is not None and startup.is_mounted(source):
        raise UnusableSplit(
            f"SD_MODEL_SOURCE={source} is a folder of models, and Ray divides models by their "
            "names in the catalog: give it a copy of a model store, a folder or s3://bucket/prefix "
            "(docs/models.md), or entries of SD_CATALOG"
        )
    if settings.model_control:
        raise UnusableSplit(
            "SD_MODEL_CONTROL is true, and on Ray replicas come and go by themselves, each with "
            "models of its own: set it to false"
        )


def deployment_name(models: Sequence[str]) -> str:
    """The name of the engine deployment of these models."""
    return "engine_" + "+".join(models)


def group_settings(settings: Settings, group: Engines) -> Settings:
    """The settings of a deployment's replicas: its models, and where they run.

    Raises:
        UnusableSplit: the device of the settings is not the one that the replicas get.
    """
    device = "cuda" if group.num_gpus else "cpu"
    if settings.device not in ("auto", device):
        raise UnusableSplit(
            f"SD_DEVICE={settings.device}, but num_gpus is {group.num_gpus:g} for "
            f"{' and '.join(group.models)}: set num_gpus, or SD_DEVICE=auto"
        )
    precision = settings.precision
    if precision == "auto":
        precision = "fp16" if group.num_gpus else "fp32"
    pinned = tuple(name for name in settings.pinned_models if name in group.models)
    return settings.model_copy(
        update={
            "models": group.models,
            "pinned_models": pinned,
            "device": device,
            "precision": precision,
        }
    )


def placement(settings: Settings) -> Placement:
    """Where the models of ``group_settings`` run."""
    return Placement(settings.device, settings.precision)


def check(catalog: Catalog, groups: Sequence[Engines]) -> None:
    """Refuse models that are apart but work together.

    Raises:
        UnusableSplit: a refiner is not with the models whose pictures it finishes.
        UnknownModel: the catalog does not have one of them.
    """
    places = {name: index for index, group in enumerate(groups) for name in group.models}
    entries = [catalog.get(name) for name in places]
    for refiner in (entry for entry in entries if entry.is_refiner):
        for other in entries:
            apart = places[other.name] != places[refiner.name]
            if other.family == refiner.family and not other.is_refiner and apart:
                raise UnusableSplit(
                    f"{refiner.name} finishes pictures of {other.name}, so one deployment has to "
                    f"serve both: {other.name}+{refiner.name}"
                )
