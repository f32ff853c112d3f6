"""What is never loaded: pickles, by whatever name, and code of others."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from models.errors import UnsafeWeights
from tests.unit.models import tiny
from tests.unit.models.conftest import edit_index, load
from tests.unit.models.single_file import save_single_file


def test_a_folder_with_pickled_weights_only_is_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "pickled"
    shutil.copytree(folder, path)
    safe = path / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(safe), path / "unet" / "diffusion_pytorch_model.bin")
    assert load(path).unet is not None
    safe.unlink()
    with pytest.raises(UnsafeWeights, match=r"unet/diffusion_pytorch_model\.bin is a pickled"):
        load(path)


class Bomb:
    """Tells on whoever unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("/nonexistent/unpickled").write_text, ("boom",))


@pytest.mark.parametrize("name", ["model.ckpt", "model.bin", "model.pt", "model.safetensors"])
def test_a_pickled_single_file_is_refused_by_name(tmp_path: Path, folder: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UnsafeWeights, match=name):
        load(file)


def test_a_pickle_renamed_to_safetensors_is_refused_in_a_folder(
    folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "renamed"
    shutil.copytree(folder, path)
    file = path / "vae" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UnsafeWeights, match=f"{file} is not in the safetensors format"):
        load(path)


def test_pickled_weights_in_the_config_of_a_single_file_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    shutil.copytree(folder, config, ignore=shutil.ignore_patterns("*.safetensors"))
    (config / "vae" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    file = tmp_path / "model.safetensors"
    save_single_file(tiny.stable_diffusion(), file)
    source = {"type": "file", "path": str(file), "config": str(config)}
    with pytest.raises(UnsafeWeights, match=r"vae/diffusion_pytorch_model\.bin is a pickled"):
        load(file, source=source)


def test_foreign_code_is_refused(folder: Path, tmp_path: Path) -> None:
    path = edit_index(folder, tmp_path, unet=["my_module", "MyUNet"])
    (path / "my_module.py").write_text("raise SystemExit('imported')")
    with pytest.raises(UnsafeWeights, match="'unet' from 'my_module'"):
        load(path)


def test_a_component_outside_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    path = edit_index(folder, tmp_path, **{"../other": ["diffusers", "AutoencoderKL"]})
    with pytest.raises(UnsafeWeights, match=r"\.\./other"):
        load(path)
