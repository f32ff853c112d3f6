from __future__ import annotations

from pathlib import Path

import pytest

from deployment.bento.build import described
from deployment.bento.packages import ROOT
from deployment.bento.recipe import Device, Precision, UnusableRecipe, choose
from models.catalog import ModelEntry, load_catalog
from models.errors import ModelError, ModelNotDownloaded

CATALOG = load_catalog()
EMBEDDED = CATALOG.get("embedded")
SD15 = CATALOG.get("sd-1.5")


@pytest.mark.parametrize(
    ("precision", "device"), [("fp32", "cpu"), ("fp16", "cuda"), ("bf16", "cuda")]
)
def test_the_device_follows_the_precision(precision: Precision, device: Device) -> None:
    recipe = choose([EMBEDDED], precision)

    assert recipe.name == f"stable_diffusion_{precision}"
    assert recipe.device == device
    assert recipe.requirements == (f"requirements-{device}.txt",)
    assert recipe.settings() == {
        "SD_MODELS": "embedded",
        "SD_PRECISION": precision,
        "SD_DEVICE": device,
    }


def test_fp32_runs_on_gpus_too() -> None:
    assert choose([EMBEDDED], "fp32", device="cuda").settings()["SD_DEVICE"] == "cuda"


def test_a_source_replaces_the_models_inside() -> None:
    recipe = choose([SD15, EMBEDDED], "fp16", model_source="s3://bucket/models")

    assert recipe.model_tags() == []
    assert recipe.settings()["SD_MODEL_SOURCE"] == "s3://bucket/models"
    assert recipe.labels()["models"] == "sd-1.5,embedded"
    assert "requirements-s3.txt" in recipe.requirements


def test_optional_packages_come_along() -> None:
    recipe = choose([EMBEDDED], "fp32", extras=["nsfw", "openvino"])

    assert recipe.requirements == (
        *("requirements-cpu.txt", "requirements-nsfw.txt", "requirements-openvino.txt"),
    )
    assert all((ROOT / name).is_file() for name in recipe.requirements)
    assert recipe.labels()["extras"] == "nsfw,openvino"
    with pytest.raises(UnusableRecipe, match="openvino computes on a CPU in fp32"):
        choose([EMBEDDED], "fp16", extras=["openvino"])


def test_a_node_of_a_ray_cluster_has_rays_host_and_the_trainings() -> None:
    plain = described(choose([EMBEDDED], "fp16"), version="1", revision="a")
    recipe = choose([EMBEDDED], "fp16", extras=["ray"])
    made = described(recipe, version="1", revision="a")

    assert recipe.requirements == ("requirements-cuda.txt", "requirements-ray.txt")
    added = set(made["include"]) - set(plain["include"])
    assert added == {"/deployment/__init__.py", "/deployment/ray/", "/training/"}
    assert all((ROOT / name.strip("/")).exists() for name in added)
    # Ray's processes do not start in the folder with the code.
    assert made["docker"]["env"]["PYTHONPATH"] == "/home/bentoml/bento/src"
    assert "PYTHONPATH" not in plain["docker"]["env"]


@pytest.mark.parametrize(
    ("precision", "device", "source", "sentence"),
    [
        ("fp16", "cpu", None, "fp16 needs a GPU"),
        ("fp32", None, "https://bucket/models", "must look like s3://bucket/prefix"),
        ("fp32", None, "s3://bucket/a\nSD_DEVICE=cuda", "must look like s3://bucket/prefix"),
    ],
)
def test_what_cannot_work_is_refused(
    precision: Precision, device: Device | None, source: str | None, sentence: str
) -> None:
    with pytest.raises(UnusableRecipe, match=sentence):
        choose([EMBEDDED], precision, device=device, model_source=source)


def test_a_model_that_is_not_here_says_how_to_get_it() -> None:
    with pytest.raises(ModelNotDownloaded, match=r"models pull sd-1\.5 --precision fp16"):
        choose([SD15], "fp16").model_tags()


def test_a_folder_is_not_the_stores(tmp_path: Path) -> None:
    source = {"type": "directory", "path": str(tmp_path)}
    entry = ModelEntry.model_validate({**EMBEDDED.model_dump(), "name": "mine", "source": source})

    with pytest.raises(ModelError, match="outside of the model store"):
        choose([entry], "fp32").model_tags()
