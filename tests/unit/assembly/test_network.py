"""The classifier answers as transformers' own processor and network would, batch or no batch."""

from __future__ import annotations

import json
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import ViTForImageClassification
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from api.decoding.pictures import decode, to_bytes
from assembly.network import ClassifierNetwork
from models.errors import LoadError
from models.vit import EMBEDDED, read_vit
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def network() -> ClassifierNetwork:
    return ClassifierNetwork(read_vit(EMBEDDED))


def pictures() -> list[Image.Image]:
    """Sprites on a ground, of many sizes and shapes."""
    found = []
    sizes = ((64, 64), (40, 90), (200, 64), (512, 512), (1, 1), (63, 65))
    names = ("red-apple", "cat", "taxi", "owl", "rose", "key")
    for size, name in zip(sizes, names, strict=True):
        sprite = Image.open(ROOT / "training" / "embedded" / "art" / "noto" / f"{name}.png")
        ground = Image.new("RGBA", sprite.size, "skyblue")
        ground.alpha_composite(sprite.convert("RGBA"))
        found.append(ground.convert("RGB").resize(size))
    return found


def prepared(picture: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """As the API prepares an upload."""
    vit = read_vit(EMBEDDED)
    file = BytesIO()
    picture.save(file, "PNG")
    decoded = decode(file.getvalue(), 10**6, "img")
    data = to_bytes(decoded, vit.width, vit.height, vit.resample)
    return np.frombuffer(data, np.uint8).reshape(1, vit.height, vit.width, 3)


def test_scores_are_those_of_transformers(network: ClassifierNetwork) -> None:
    processor = ViTImageProcessorPil.from_pretrained(EMBEDDED)
    reference = ViTForImageClassification.from_pretrained(EMBEDDED, dtype=torch.float32).eval()
    for picture in pictures():
        with torch.inference_mode():
            values = processor(picture, return_tensors="pt")["pixel_values"]
            expected = reference(pixel_values=values).logits.softmax(-1).numpy()
        np.testing.assert_allclose(network.scores(prepared(picture)), expected, atol=1e-5)


def test_scores_do_not_depend_on_the_batch(network: ClassifierNetwork) -> None:
    batch = np.concatenate([prepared(picture) for picture in pictures() * 3])
    together = network.scores(batch)
    assert together.shape == (18, 146)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)
    for row, picture in zip(together, batch, strict=True):
        np.testing.assert_allclose(network.scores(picture[None])[0], row, atol=1e-5)


def test_a_batch_that_fails_raises_nothing(
    network: ClassifierNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    scores = network.scores(np.zeros((3, 7, 7, 3), np.uint8))
    assert scores.shape == (3, 146)
    assert np.isnan(scores).all()
    assert "a batch of 3 classifications failed" in caplog.text
    assert not np.isnan(network.scores(prepared(pictures()[0]))).any()


def test_weights_that_are_missing_are_not_made_up(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(EMBEDDED, tmp_path / "mine"))
    weights = load_file(folder / "model.safetensors")
    del weights["vit.layernorm.bias"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(LoadError, match=r"missing: \['vit.layernorm.bias'\]"):
        ClassifierNetwork(read_vit(folder))


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(EMBEDDED, tmp_path / "mine"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 64}))
    with pytest.raises(LoadError, match="cannot be loaded"):
        ClassifierNetwork(read_vit(folder))
