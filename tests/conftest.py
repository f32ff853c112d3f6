"""Shared by all tests: the embedded model, loaded once, and requests to it."""

from __future__ import annotations

# ruff: noqa: E402
# Before torch is imported.
from assembly import environment

environment.prepare()

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from contract.request import GenerationRequest
from tests.effort import FULL
from tests.integration.server import Server, serving

if TYPE_CHECKING:
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import (
        StableDiffusionPipeline,
    )

ROOT = Path(__file__).parents[1]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from tests.parallel import ByFile

    return ByFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is for a full run, and begin a parallel one with the files of slow tests: no
    worker has one left at the end."""
    if not FULL:
        for item in items:
            if item.get_closest_marker("full"):
                item.add_marker(pytest.mark.skip(reason="takes a while: make test-rest"))
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """The workers of a parallel run divide the cores among themselves, where the tests use torch:
    it takes seconds to import."""
    workers = os.environ.get("PYTEST_XDIST_WORKER_COUNT")
    if workers and "torch" in sys.modules:
        import torch

        torch.set_num_threads(max(1, torch.get_num_threads() // int(workers)))


@pytest.fixture(scope="module", autouse=True)
def _collections_pass_over_what_stays() -> None:
    """Libraries and shared fixtures: a collection takes half a second with them, and the engine
    makes one whenever it releases memory."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def pipeline() -> StableDiffusionPipeline:
    """The stock diffusers pipeline of the embedded model, fp32 on the CPU."""
    # Seconds, which the tests of servers do not need.
    import torch
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import (
        StableDiffusionPipeline,
    )

    pipe = StableDiffusionPipeline.from_pretrained(
        ROOT / "models" / "embedded", local_files_only=True, dtype=torch.float32
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="session")
def photo() -> bytes:
    """Raw RGB of a 64 x 64 picture with an object in it."""
    picture = Image.new("RGB", (64, 64), (45, 100, 215))
    picture.paste((214, 48, 49), (18, 14, 48, 52))
    return picture.tobytes()


@pytest.fixture(scope="session")
def wildcards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wildcard ``colour``."""
    folder = tmp_path_factory.mktemp("wildcards")
    (folder / "colour.txt").write_text("red\nyellow\nblue\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, wildcards: Path) -> Iterator[Server]:
    """The host without BentoML, for all tests that leave it as it was. It starts the sooner."""
    folder = tmp_path_factory.mktemp("local")
    with serving(folder, host="local", **_settings(wildcards)) as server:
        yield server


@pytest.fixture(scope="session")
def bentoml_server(tmp_path_factory: pytest.TempPathFactory, wildcards: Path) -> Iterator[Server]:
    """The BentoML host with the settings of ``server``, for the tests that are about it. Its models
    may be unloaded and loaded."""
    folder = tmp_path_factory.mktemp("bentoml")
    with serving(folder, **_settings(wildcards)) as server:
        yield server


def _settings(wildcards: Path) -> dict[str, str]:
    return {
        "SD_WILDCARDS": str(wildcards),
        "SD_MODEL_CONTROL": "true",
        "SD_MODEL_ALIASES": "gpt-image-1=embedded",
    }


def make_request(**changes: Any) -> GenerationRequest:
    """A request to the embedded model; ``changes`` replace fields."""
    fields: dict[str, Any] = {
        "request_id": "test",
        "model": "embedded",
        "prompt": "a red apple on a blue background",
        "width": 64,
        "height": 64,
        "num_inference_steps": 8,
        "guidance_scale": 3.0,
        "scheduler": "ddim",
        "seed": 7,
    }
    return GenerationRequest(**{**fields, **changes})


def composite(name: str, ground: str) -> Image.Image:
    """One of the embedded model's objects on a plain ground, 64 x 64, as it was trained on."""
    from training.embedded.scenes import Scene, compose
    from training.embedded.world import load_world

    world = load_world()
    (subject,) = (subject for subject in world.subjects if subject.name == name)
    return Image.fromarray(compose(world, Scene(subject, "noto", (ground,))))
