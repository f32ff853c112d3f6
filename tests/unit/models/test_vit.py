"""What a classifier's folder says of itself, and what is refused in a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.errors import LoadError, ModelError, UnsafeWeights
from models.vit import EMBEDDED, find_vit, read_vit

PICKLE = b"\x80\x04N."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EMBEDDED, tmp_path / "mine"))


def change(file: str, **values: Any) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**content, **values}))

    return act


def test_the_embedded_one_is_read() -> None:
    vit = find_vit("embedded")
    assert vit is not None
    assert vit.name == "embedded"
    assert len(vit.labels) == 146
    assert {"red apple", "cat"} <= set(vit.labels)
    assert (vit.width, vit.height) == (64, 64)


def test_none_is_none() -> None:
    assert find_vit("none") is None


def test_a_folder_of_ones_own_has_its_name(folder: Path) -> None:
    vit = find_vit(str(folder))
    assert vit is not None
    assert (vit.name, vit.folder) == ("mine", folder)


def test_an_older_size_is_understood(folder: Path) -> None:
    change("preprocessor_config.json", size=32, do_normalize=False)(folder)
    vit = read_vit(folder)
    assert (vit.width, vit.height) == (32, 32)
    assert (vit.mean, vit.std) == ((0, 0, 0), (1, 1, 1))


def _without(file: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).unlink()


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(PICKLE)


@pytest.mark.parametrize(
    ("spoil", "error", "sentence"),
    [
        (shutil.rmtree, LoadError, "has no config.json"),
        (_without("preprocessor_config.json"), LoadError, "has no preprocessor_config.json"),
        (_without("model.safetensors"), LoadError, "model.safetensors does not exist"),
        (_pickled, LoadError, "model.safetensors does not exist"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(PICKLE),
            UnsafeWeights,
            "not in the safetensors format",
        ),
        (lambda folder: (folder / "config.json").write_text("{"), LoadError, "cannot be read"),
        (lambda folder: (folder / "config.json").write_text("[]"), LoadError, "the file: Input"),
        (
            change("config.json", architectures=["ResNetForImageClassification"]),
            LoadError,
            "'ViTForImageClassification'",
        ),
        (change("config.json", id2label={"1": "a", "2": "b"}), LoadError, "from 0 on"),
        (change("config.json", id2label={"0": "a", "1": "b"}), LoadError, "names 2 labels, but"),
        (change("preprocessor_config.json", do_center_crop=True), LoadError, "do_center_crop"),
        (change("preprocessor_config.json", do_resize=False), LoadError, "do_resize"),
        (change("preprocessor_config.json", size={"shortest_edge": 64}), LoadError, "size.height"),
    ],
)
def test_what_cannot_be_served_is_refused(
    folder: Path, spoil: Callable[[Path], object], error: type[ModelError], sentence: str
) -> None:
    spoil(folder)
    with pytest.raises(error, match=sentence):
        read_vit(folder)
