"""A Bento, built, exported, and served far away from the code that it was made of."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from api.version import VERSION
from models.catalog import load_catalog
from tests import uploads
from tests.conftest import ROOT
from tests.effort import only_in_full
from tests.integration.server import Server, serving

BODY = {"prompt": "a red apple on a blue background", "seed": 5, "num_inference_steps": 8}
INPUT = uploads.encode(uploads.red_and_blue())
STORED = "stored:1"
TAG = f"stable_diffusion_fp32:{VERSION}"
MEGABYTE = 1024 * 1024


def run(home: Path, *command: str) -> str:
    """Run a program of the environment; returns what it says."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SD_")}
    process = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**clean, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BentoML home with a model in its store: a copy of the embedded one."""
    home = tmp_path_factory.mktemp("home")
    model = home / "models" / "stored" / "1"
    shutil.copytree(ROOT / "models" / "embedded", model)
    description = {
        "name": "stored",
        "version": "1",
        "module": "",
        "labels": {},
        "options": {},
        "metadata": {},
        "context": {
            "framework_name": "diffusers",
            "framework_versions": {},
            "bentoml_version": "1.4.39",
            "python_version": "3.11",
        },
        "signatures": {},
        "api_version": "v1",
        "creation_time": "2026-01-01T00:00:00+00:00",
    }
    (model / "model.yaml").write_text(yaml.safe_dump(description))
    return home


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    embedded = load_catalog().get("embedded").model_dump(mode="json")
    source = {"type": "bentoml", "tag": STORED}
    file = tmp_path_factory.mktemp("catalog") / "mine.yaml"
    file.write_text(yaml.safe_dump({"models": [{**embedded, "name": "mine", "source": source}]}))
    return file


@pytest.fixture(scope="module")
def bento(home: Path, catalog: Path) -> Path:
    """A Bento that serves a model of the store, and the embedded one."""
    options = ["--models", "mine,embedded", "--catalog", str(catalog)]
    assert run(home, "deployment.bento", *options).strip() == TAG
    return home / "bentos" / "stable_diffusion_fp32" / VERSION


@pytest.fixture(scope="module")
def archive(home: Path, bento: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Bento as one file, as it travels (uncompressed, for speed)."""
    file = tmp_path_factory.mktemp("export") / "pictures.tar"
    run(home, "bentoml", "export", TAG, str(file))
    return file


@pytest.fixture(
    scope="module", params=["the folder of an image", pytest.param("imported", marks=only_in_full)]
)
def far_away(
    archive: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Server]:
    """A server of the Bento where there is nothing but the exported file.

    As in a container: by its path, with the models in it, and an empty BentoML home. Or by its tag,
    with its models in the store that it was imported into.
    """
    place = tmp_path_factory.mktemp("elsewhere")
    options: dict[str, Any]
    if request.param == "imported":
        home = place / "bentoml"
        run(home, "bentoml", "import", str(archive))
        folder = home / "bentos" / "stable_diffusion_fp32" / VERSION
        options = {"target": TAG, "home": home}
    else:
        folder = place / "bento"
        with tarfile.open(archive) as file:
            file.extractall(folder, filter="data")
        assert (folder / "models" / "stored" / "1" / "model_index.json").is_file()
        options = {"target": str(folder)}
    with serving(place, code=folder / "src", **options) as server:
        yield server


def pictures(server: Server, **fields: Any) -> list[bytes]:
    """What both endpoints make of the same requests."""
    body = {**BODY, **fields}
    files: dict[str, Any] = {"img": ("in.png", INPUT), "data": (None, json.dumps(body))}
    answers: list[httpx.Response] = [
        server.client.post("/txt2img", json=body),
        server.client.post("/img2img", files=files),
    ]
    assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
    return [answer.content for answer in answers]


def test_it_makes_the_pictures_of_the_checkout(server: Server, far_away: Server) -> None:
    assert pictures(far_away, model="embedded") == pictures(server, model="embedded")


def test_it_serves_what_it_was_built_for(far_away: Server) -> None:
    body = far_away.client.get("/models").json()

    assert body["version"] == VERSION
    assert far_away.client.get("/docs.json").json()["info"]["version"] == VERSION
    assert [(model["name"], model["default"]) for model in body["models"]] == [
        ("mine", True),
        ("embedded", False),
    ]
    assert len(set(pictures(far_away))) == 2


def test_what_bentoml_says_about_it(home: Path, bento: Path) -> None:
    (listed,) = json.loads(run(home, "bentoml", "list", "--output", "json"))
    described = yaml.safe_load(run(home, "bentoml", "get", TAG, "--output", "yaml"))

    assert listed["tag"] == TAG
    assert described["labels"] | {"revision": "x"} == {
        "project": "stable-diffusion-service",
        "licence": "Apache-2.0",
        "version": VERSION,
        "revision": "x",
        "models": "mine,embedded",
        "model_licences": "Apache-2.0",
        "precision": "fp32",
        "device": "cpu",
        "model_source": "bento",
        "extras": "",
    }
    assert [model["tag"] for model in described["models"]] == [STORED]
    assert "stable_diffusion_fp32" in [runner["name"] for runner in described["runners"]]


def test_its_files_have_one_time(bento: Path) -> None:
    """So that the layer of an image with torch stays the same, whatever the code."""
    assert len({path.stat().st_mtime for path in bento.rglob("*") if path.is_file()}) == 1


def test_without_its_weights_it_is_small(bento: Path) -> None:
    files = [path for path in bento.rglob("*") if path.is_file()]
    small = sum(path.stat().st_size for path in files if path.suffix != ".safetensors")

    assert small <= 5 * MEGABYTE
    assert not {path.name for path in (bento / "src").iterdir()} & {
        *("tests", "training", "docs", "benchmarks", "deployment", ".git")
    }


def test_a_bento_for_gpus_is_built_where_there_is_none(home: Path) -> None:
    options = ["--precision", "fp16", "--version", "0.0.1", "--extra", "nsfw"]
    run(home, "deployment.bento", *options)
    folder = home / "bentos" / "stable_diffusion_fp16" / "0.0.1"

    described = yaml.safe_load((folder / "bento.yaml").read_text())
    assert described["docker"]["cuda_version"] == "12.6.3"
    assert "stable_diffusion_fp16" in [runner["name"] for runner in described["runners"]]
    requirements = (folder / "env" / "python" / "requirements.txt").read_text()
    assert "+cu126" in requirements
    assert "+cpu" not in requirements
    assert "nudenet==" in requirements
