"""The arguments of the application, as the command line and a file give them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from assembly.composition import compose
from deployment.ray.arguments import Arguments
from deployment.ray.split import (
    UnusableSplit,
    check,
    check_settings,
    group_settings,
    placement,
)
from models.catalog import BUILT_IN, load_catalog
from models.errors import ModelError
from models.placement import Placement
from settings import Settings


def test_models_have_replicas_of_their_own_or_share_them() -> None:
    arguments = Arguments.model_validate(
        {"models": "embedded,sd-1.5+sd-2.1", "max_replicas": "3", "num_gpus": "0.5"}
    )

    one, two = arguments.groups(("embedded",))

    assert (one.models, two.models) == (("embedded",), ("sd-1.5", "sd-2.1"))
    assert {(group.max_replicas, group.num_gpus) for group in (one, two)} == {(3, 0.5)}


def test_the_models_of_the_settings_are_together_by_default() -> None:
    (group,) = Arguments().groups(("embedded", "sd-1.5"))
    assert group.models == ("embedded", "sd-1.5")


def test_deployments_may_differ() -> None:
    arguments = Arguments.model_validate(
        {
            "engines": [
                {"models": "embedded", "min_replicas": 0},
                {"models": ["sd-1.5"], "num_gpus": 1, "max_replicas": 8},
            ]
        }
    )
    assert [group.min_replicas for group in arguments.groups(())] == [0, 1]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"model": "embedded"}, "model"),
        ({"num_gpus": 2}, "num_gpus"),
        ({"min_replicas": 3, "max_replicas": 2}, "max_replicas"),
        ({"models": "embedded,embedded"}, "embedded is there 2 times"),
        ({"models": "embedded", "engines": [{"models": "embedded"}]}, "not both"),
        ({"models": "+"}, "models"),
    ],
)
def test_mistakes_are_named(given: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        Arguments.model_validate(given)


def test_replicas_without_a_gpu_run_on_the_cpu() -> None:
    (group,) = Arguments.model_validate({"models": "embedded"}).groups(())
    settings = group_settings(Settings(models=("embedded", "sd-1.5")), group)
    assert settings.models == ("embedded",)
    assert placement(settings) == Placement("cpu", "fp32")


def test_replicas_with_a_gpu_run_on_it_wherever_they_are_planned() -> None:
    (group,) = Arguments.model_validate({"models": "embedded", "num_gpus": 1}).groups(())
    settings = group_settings(Settings(pinned_models=("embedded",)), group)
    assert placement(settings) == Placement("cuda", "fp16")
    assert settings.pinned_models == ("embedded",)


def test_a_gpu_that_no_replica_gets_is_named() -> None:
    (group,) = Arguments.model_validate({"models": "embedded"}).groups(())
    with pytest.raises(UnusableSplit, match="num_gpus is 0 for embedded"):
        group_settings(Settings(device="cuda"), group)


def test_a_refiner_stays_with_its_models() -> None:
    catalog = load_catalog(None)
    apart = Arguments.model_validate({"models": "sdxl-base,sdxl-refiner"}).groups(())
    together = Arguments.model_validate({"models": "sdxl-base+sdxl-refiner"}).groups(())

    check(catalog, together)
    with pytest.raises(UnusableSplit, match=r"sdxl-base\+sdxl-refiner"):
        check(catalog, apart)


def test_what_several_processes_cannot_follow_is_refused(tmp_path: Path) -> None:
    store, mounted = tmp_path / "store", tmp_path / "mounted"
    for file in (store / "clay" / "v1" / "model.yaml", mounted / "sdxl" / "model_index.json"):
        file.parent.mkdir(parents=True)
        file.touch()

    for source in (None, "s3://bucket/prefix", str(store), str(tmp_path / "nowhere")):
        check_settings(Settings(model_source=source))
    with pytest.raises(UnusableSplit, match=f"SD_MODEL_SOURCE={mounted} is a folder of models"):
        check_settings(Settings(model_source=str(mounted)))
    with pytest.raises(UnusableSplit, match="SD_MODEL_CONTROL is true"):
        check_settings(Settings(model_control=True))


def test_a_folder_that_only_the_replicas_have(store: Path, tmp_path: Path) -> None:
    """Whoever builds the application cannot see it there."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "pear").symlink_to(BUILT_IN.parent / "embedded")
    settings = Settings(model_source=str(folder))
    with pytest.raises(ModelError, match="pear is in SD_MODEL_SOURCE="):
        compose(settings, {"embedded": Placement("cpu", "fp32")})
