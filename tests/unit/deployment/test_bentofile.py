"""What goes into a Bento, without building one."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import yaml
from bentoml._internal.bento.build_config import BentoBuildConfig, BentoPathSpec
from packaging.requirements import Requirement

from deployment.bento.build import BENTOFILE, described
from deployment.bento.packages import ROOT, flat
from deployment.bento.recipe import choose
from models.catalog import load_catalog

EMBEDDED = load_catalog().get("embedded")
SD15 = load_catalog().get("sd-1.5")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
STAYS = {"training", "benchmarks", "deployment", "ui"}


def included(description: Path) -> BentoPathSpec:
    config = BentoBuildConfig.from_file(str(description))
    return BentoPathSpec(config.include, config.exclude, str(ROOT))


def test_every_package_that_serves_is_in_it_and_nothing_else_is() -> None:
    spec = included(BENTOFILE)
    packages = set(PROJECT["tool"]["importlinter"]["root_packages"])

    for package in packages - STAYS:
        assert spec.includes(f"./{package}/deep/inside.py"), package
    for name in (*sorted(STAYS), "tests", "docs", ".git"):
        assert not spec.includes(f"./{name}/inside.py"), name
    assert not spec.includes("./api/__pycache__/app.cpython-311.pyc")
    for name in ("service.py", "configuration.yaml", "LICENSE"):
        assert spec.includes(f"./{name}"), name


def test_weights_that_are_not_served_stay_outside(tmp_path: Path) -> None:
    shipped = {"embedded", "embedded-xl", "embedded-xl-refiner", "embedded-3"}
    for served in (set(), {"embedded"}, {"embedded-xl", "embedded-3"}, shipped):
        entries = [SD15, *(load_catalog().get(name) for name in sorted(served))]
        recipe = choose(entries, "fp16", model_source="s3://bucket/models")
        file = tmp_path / "bentofile.yaml"
        file.write_text(yaml.safe_dump(described(recipe, version="1", revision="x")))
        spec = included(file)
        for name in shipped:
            weights = f"./models/{name}/vae/diffusion_pytorch_model.safetensors"
            assert spec.includes(weights) is (name in served), (name, served)
        assert spec.includes("./models/catalog.py")


def test_a_gpu_gets_a_cuda_version_that_its_torch_is_built_for() -> None:
    bentofile = described(choose([EMBEDDED], "fp16"), version="1.2.3", revision="abc")
    major, minor, _ = bentofile["docker"]["cuda_version"].split(".")

    assert f"+cu{major}{minor}" in flat(ROOT / "requirements-cuda.txt")
    assert f"/whl/cu{major}{minor}" in flat(ROOT / "requirements-cuda.txt")
    assert bentofile["docker"]["env"]["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    assert bentofile["docker"]["env"]["SERVICE_VERSION"] == "1.2.3"
    assert bentofile["labels"]["revision"] == "abc"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_requirements_are_those_of_the_checkout_and_torch_for_the_device(device: str) -> None:
    lines = flat(ROOT / f"requirements-{device}.txt").splitlines()
    everything = [Requirement(line) for line in lines if not line.startswith("--")]
    base = [Requirement(line) for line in flat(ROOT / "requirements.txt").splitlines()]

    assert {str(requirement) for requirement in base} < {str(item) for item in everything}
    (extra,) = [item for item in everything if item not in base]
    (plain,) = [item for item in base if item.name == "torch"]
    # pip takes both as one: the public version is the same.
    assert extra.name == "torch"
    assert str(extra.specifier).partition("+")[0] == str(plain.specifier)
    assert all(len(item.specifier) == 1 and "==" in str(item.specifier) for item in everything)
