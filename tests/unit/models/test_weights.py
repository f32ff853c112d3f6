from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import weights
from models.budget import model_bytes
from models.catalog import load_catalog
from models.errors import LoadError, UnsafeWeights
from models.footprint import weight_bytes
from models.loading import load_pipeline
from models.store import resolve
from models.weights import text_channels
from tests.unit.models import tiny
from tests.unit.models.conftest import make_entry
from tests.unit.models.single_file import save_single_file

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def loaded_bytes(pipeline: Any) -> int:
    """What the weights of a pipeline in memory take, tables of real numbers included."""
    modules = [each for each in pipeline.components.values() if isinstance(each, torch.nn.Module)]
    tensors = [tensor for each in modules for tensor in (*each.parameters(), *each.buffers())]
    return sum(tensor.nbytes for tensor in tensors if tensor.is_floating_point())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_folder_takes_what_its_header_says(repo_folder: Path, precision: str) -> None:
    """With files in both precisions, and a safety checker and other weights that nobody loads."""
    pipeline = load_pipeline(
        make_entry(), location=repo_folder, dtype=PRECISIONS[precision], device="cpu"
    )
    assert weight_bytes(repo_folder, precision) == loaded_bytes(pipeline)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_files_in_another_precision_than_wanted(
    repo_folder: Path, tmp_path: Path, precision: str
) -> None:
    """One component in fp16 only, one in fp32 only."""
    path = tmp_path / "mixed"
    shutil.copytree(repo_folder, path)
    (path / "text_encoder" / "model.safetensors").unlink()
    for file in (path / "unet").glob("*.fp16.*"):
        file.unlink()
    pipeline = load_pipeline(make_entry(), location=path, dtype=PRECISIONS[precision], device="cpu")
    assert weight_bytes(path, precision) == loaded_bytes(pipeline)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("force_upcast", [True, False])
def test_a_vae_that_stays_in_fp32_counts_so(
    tmp_path: Path, precision: str, force_upcast: bool
) -> None:
    pipeline = tiny.sdxl(refiner=False)
    pipeline.vae.register_to_config(force_upcast=force_upcast)
    pipeline.save_pretrained(tmp_path)
    entry = make_entry(family="sdxl", source={"type": "directory", "path": str(tmp_path)})
    loaded = load_pipeline(entry, location=tmp_path, dtype=PRECISIONS[precision], device="cpu")
    assert sum(model_bytes(entry, precision).values()) == loaded_bytes(loaded)


def test_the_vae_in_a_single_file_of_sdxl_counts_too(folder: Path, tmp_path: Path) -> None:
    """Its config is elsewhere."""
    file, config = tmp_path / "model.safetensors", tmp_path / "config"
    vae, unet = torch.zeros(10, dtype=torch.float16), torch.zeros(100, dtype=torch.float16)
    save_file({"first_stage_model.a": vae, "model.diffusion_model.a": unet}, file)
    tiny.sdxl(refiner=False).save_pretrained(config)
    assert weight_bytes(file, "fp16", config) == 10 * 4 + 100 * 2
    assert weight_bytes(file, "fp16", folder) == 10 * 2 + 100 * 2


def test_shards(folder: Path, tmp_path: Path) -> None:
    whole, path = tiny.stable_diffusion(), tmp_path / "sharded"
    shutil.copytree(folder, path)
    shutil.rmtree(path / "unet")
    whole.unet.save_pretrained(path / "unet", max_shard_size="200KB")
    assert len(list((path / "unet").glob("*.safetensors"))) > 1
    assert weight_bytes(path, "fp32") == weight_bytes(folder, "fp32")


def test_the_embedded_model() -> None:
    """Its files are in fp16."""
    location = resolve(load_catalog().get("embedded"), "fp32")
    stored = sum(file.stat().st_size for file in location.rglob("*.safetensors"))
    size = weight_bytes(location, "fp16")
    assert weight_bytes(location, "fp32") == 2 * size
    assert 0.99 * stored < size <= stored


def test_a_single_file_without_its_moving_averages(tmp_path: Path) -> None:
    pipeline = tiny.stable_diffusion()
    file = tmp_path / "model.safetensors"
    save_single_file(pipeline, file)
    assert weight_bytes(file, "fp16") * 2 == loaded_bytes(pipeline)
    tensors = load_file(file)
    averages = {
        f"model_ema.{name.replace('.', '')}": tensor.clone() for name, tensor in tensors.items()
    }
    save_file({**tensors, **averages}, file)
    assert weight_bytes(file, "fp16") * 2 == loaded_bytes(pipeline)


def test_broken_files_are_errors(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"no model_index\.json"):
        weight_bytes(tmp_path, "fp32")
    with pytest.raises(LoadError, match="does not exist"):
        weight_bytes(tmp_path / "none.safetensors", "fp32")
    path = tmp_path / "broken"
    shutil.copytree(folder, path)
    (path / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(UnsafeWeights, match="not in the safetensors format"):
        weight_bytes(path, "fp32")


def test_a_file_that_goes_while_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.safetensors"
    save_file({"a": torch.zeros(2, dtype=torch.float32)}, file)
    check = weights.check_file

    def remove_after(checked: Path) -> None:
        check(checked)
        checked.unlink()

    monkeypatch.setattr(weights, "check_file", remove_after)
    with pytest.raises(LoadError, match="cannot be read"):
        weight_bytes(file, "fp32")


def test_the_channels_of_the_text_are_those_of_the_denoiser(folder: Path, tmp_path: Path) -> None:
    assert text_channels(folder) == tiny.WIDTH
    tiny.sd3().save_pretrained(tmp_path)
    assert text_channels(tmp_path) == tiny.T5_WIDTH
