from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bentoml
import pytest
import torch
import yaml
from diffusers import DiffusionPipeline
from safetensors.torch import save_file

from models.catalog import ModelEntry
from models.loading import load_pipeline
from tests.unit.models import tiny
from tests.unit.models.hub_server import HubServer, Repo, serve

ROOT = Path(__file__).parents[3]
DEFAULTS = {
    "width": 64,
    "height": 64,
    "num_inference_steps": 2,
    "guidance_scale": 3.0,
    "scheduler": "ddim",
}

ENTRY = {
    "name": "tiny",
    "family": "sd1",
    "source": {"type": "huggingface", "repo": "acme/tiny"},
    "defaults": DEFAULTS,
    "licence": "none",
}
UNET = "unet/diffusion_pytorch_model.safetensors"
UNET_FP16 = "unet/diffusion_pytorch_model.fp16.safetensors"
Start = Callable[..., "subprocess.Popen[str]"]
Run = Callable[..., tuple[int, str, str]]


def make_entry(name: str = "tiny", **changes: Any) -> ModelEntry:
    """An entry of a repository of the loopback hub, or of another source."""
    source = {"type": "huggingface", "repo": f"acme/{name}"}
    return ModelEntry.model_validate({**ENTRY, "name": name, "source": source, **changes})


def stored_entry(folder: Path, **changes: Any) -> ModelEntry:
    """An entry of a pipeline in a folder, of any family: all take its scheduler."""
    return make_entry(
        source={"type": "directory", "path": str(folder)},
        defaults={**DEFAULTS, "scheduler": "euler"},
        **changes,
    )


def write_catalog(file: Path, *entries: dict[str, Any]) -> Path:
    file.write_text(yaml.safe_dump({"models": list(entries)}), encoding="utf-8")
    return file


def load(location: Path, dtype: torch.dtype = torch.float32, **changes: Any) -> DiffusionPipeline:
    """Load ``location`` as the pipeline of an entry with these changes."""
    return load_pipeline(make_entry(**changes), location=location, dtype=dtype, device="cpu")


def edit_index(folder: Path, tmp_path: Path, **changes: Any) -> Path:
    """A copy of a pipeline's folder whose index says something else."""
    path = tmp_path / "edited"
    shutil.copytree(folder, path)
    index = json.loads((path / "model_index.json").read_text())
    (path / "model_index.json").write_text(json.dumps({**index, **changes}))
    return path


def assert_nothing_stored(home: Path) -> None:
    assert not list((home / "models").rglob("model.yaml"))
    assert bentoml.models.list() == []


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline folder, fp32. Not to be written to."""
    path = tmp_path_factory.mktemp("tiny")
    tiny.stable_diffusion().save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def repo_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository as they are found: both precisions, and much that must never be fetched."""
    path = tmp_path_factory.mktemp("repo") / "tiny"
    shutil.copytree(folder, path)
    tiny.stable_diffusion().to(torch.float16).save_pretrained(path, variant="fp16")
    for name in (
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.bin",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "unet/flax_model.msgpack",
        "text_encoder/pytorch_model.bin",
        "vae/model.onnx",
        "vae/training.pt",
        "safety_checker/model.safetensors",
        "safety_checker/config.json",
        "v1-5-pruned.ckpt",
        "v1-5-pruned.safetensors",
        "README.md",
    ):
        file = path / name
        file.parent.mkdir(exist_ok=True)
        if file.suffix == ".safetensors":
            save_file({"never": torch.zeros(1)}, file)
        else:
            file.write_bytes(b"never fetched")
    return path


@pytest.fixture
def hub_server(repo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    with serve() as server:
        server.repos["acme/tiny"] = Repo(repo_folder)
        yield server


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a program that uses the store of this test."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "BENTOML_HOME": str(tmp_path / "bentoml"),
        "HF_HOME": str(tmp_path / "hf"),
        "NO_PROXY": "127.0.0.1",
        "BENTOML_DO_NOT_TRACK": "True",
    }


@pytest.fixture
def start(environment: dict[str, str]) -> Start:
    """Start ``python -m models ...``."""

    def start(*arguments: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "models", *arguments],
            cwd=ROOT,
            env={**environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def run(start: Start) -> Run:
    """Run ``python -m models ...``: exit status, stdout, stderr."""

    def run(*arguments: str, **variables: str) -> tuple[int, str, str]:
        process = start(*arguments, **variables)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    return run
