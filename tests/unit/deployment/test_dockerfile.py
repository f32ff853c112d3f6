"""The Dockerfile that BentoML makes of the template, for each device."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from bentoml._internal.bento.build_config import BentoBuildConfig
from bentoml._internal.container.generate import generate_containerfile

from deployment.bento.build import ROOT, described
from deployment.bento.recipe import Precision, choose
from models.catalog import load_catalog


def dockerfile(folder: Path, precision: Precision) -> str:
    recipe = choose([load_catalog().get("embedded")], precision)
    description = described(recipe, version="1.2.3", revision="abc")
    config = BentoBuildConfig.load(description).with_defaults()
    text: str = generate_containerfile(
        config.docker, str(ROOT), conda=config.conda, bento_fs=folder, enable_buildkit=False
    )
    return text


@pytest.fixture(params=["fp32", "fp16"])
def text(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(ROOT)
    return dockerfile(tmp_path, request.param)


def test_it_passes_the_linter(text: str, tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(text)
    hadolint = Path(sys.executable).with_name("hadolint")
    linted = subprocess.run([hadolint, "--no-color", file], capture_output=True, text=True)

    assert linted.returncode == 0, linted.stdout


def test_packages_models_and_code_are_layers_in_this_order(text: str) -> None:
    steps = ("install.sh", "COPY ./models", "COPY ./src ./src/", "COPY ./bento.yaml")

    places = [text.index(step) for step in steps]
    assert places == sorted(places)
    assert "COPY . " not in text


def test_it_runs_without_root_and_is_watched(text: str) -> None:
    assert "\nUSER 1034:1034\n" in text
    assert "/readyz" in text[text.index("HEALTHCHECK") :]
    assert 'org.opencontainers.image.version="1.2.3"' in text
    assert 'org.opencontainers.image.revision="abc"' in text


@pytest.mark.parametrize(("precision", "gpus"), [("fp32", False), ("fp16", True)])
def test_gpus_are_visible_where_they_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: Precision, gpus: bool
) -> None:
    monkeypatch.chdir(ROOT)
    text = dockerfile(tmp_path, precision)

    assert ("ENV NVIDIA_VISIBLE_DEVICES=all\n" in text) is gpus
    assert "ENV NVIDIA_VISIBLE_DEVICES=\n" not in text
