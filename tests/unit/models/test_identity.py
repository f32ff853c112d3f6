"""Text encoders that several models have: they are known by their weights, and in memory once."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.architectures import Family
from models.budget import model_footprint
from models.catalog import ModelEntry
from models.footprint import Footprint, together
from models.identity import identify
from models.loading import load_pipeline
from models.placement import Placement
from models.shared_modules import SharedModules
from tests.unit.models import tiny
from tests.unit.models.conftest import DEFAULTS, make_entry

CPU = Placement("cpu", "fp32")


def saved(pipeline: Any, folder: Path, family: Family, **options: Any) -> ModelEntry:
    pipeline.save_pretrained(folder / family, **options)
    source = {"type": "directory", "path": str(folder / family)}
    defaults = {**DEFAULTS, "scheduler": "euler"}
    return make_entry(family, family=family, source=source, defaults=defaults)


@pytest.fixture
def entries(tmp_path: Path) -> list[ModelEntry]:
    """SD 1 and SDXL have the same CLIP-L."""
    sd1, sdxl = tiny.stable_diffusion(), tiny.sdxl(refiner=False)
    sdxl.text_encoder = sd1.text_encoder
    return [saved(sd1, tmp_path, "sd1"), saved(sdxl, tmp_path, "sdxl")]


def test_equal_weights_have_one_identity(entries: list[ModelEntry]) -> None:
    identities = identify(entries, "fp32")
    assert identities.keys() == {("sd1", "text_encoder"), ("sdxl", "text_encoder")}
    assert len(set(identities.values())) == 1
    assert identify(entries[:1], "fp32") == {}


def test_older_versions_called_the_same_tensors_otherwise(
    entries: list[ModelEntry], tmp_path: Path
) -> None:
    folder = tmp_path / "sd1" / "text_encoder"
    tensors = load_file(folder / "model.safetensors")
    older = {f"text_model.{name}": tensor for name, tensor in tensors.items()}
    older["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(older, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"transformers_version": "4.22.0"}))
    assert len(identify(entries, "fp32")) == 2


@pytest.mark.parametrize("change", ["weights", "config", "dtype", "scheme"])
def test_others_are_others(entries: list[ModelEntry], tmp_path: Path, change: str) -> None:
    folder = tmp_path / "sd1" / "text_encoder"
    tensors = load_file(folder / "model.safetensors")
    if change == "weights":
        next(iter(tensors.values())).view(-1)[0] += 1
    elif change == "dtype":
        tensors = {name: tensor.half() for name, tensor in tensors.items()}
    elif change == "config":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"hidden_act": "gelu"}))
    save_file(tensors, folder / "model.safetensors")
    if change == "scheme":
        t5 = [saved(tiny.sd3(t5=True), tmp_path / name, "sd3") for name in "ab"]
        t5 = [each.model_copy(update={"name": name}) for each, name in zip(t5, "ab", strict=True)]
        assert ("a", "text_encoder_3") in identify(t5, "fp32")
        t5[0] = t5[0].with_quantization({"t5": "int8"})
        assert ("a", "text_encoder_3") not in identify(t5, "fp32")
    else:
        assert identify(entries, "fp32") == {}


def test_it_counts_once(entries: list[ModelEntry]) -> None:
    identities = identify(entries, "fp32")
    alone = [model_footprint(entry, CPU) for entry in entries]
    shared = [model_footprint(entry, CPU, identities) for entry in entries]
    assert [each.total for each in shared] == [each.total for each in alone]
    (encoder,) = {size for each in shared for size in each.shared.values()}
    assert encoder > 0
    assert together(shared) == together(alone) - encoder
    assert together([]) == 0 == Footprint(0).total


def test_text_encoders_elsewhere_take_nothing_of_the_device(entries: list[ModelEntry]) -> None:
    elsewhere = Placement("cuda", "fp16", text_encoders="cpu")
    there = Placement("cuda", "fp16")
    assert elsewhere.text_precision == "fp32"
    assert CPU.text_precision == "fp32"
    assert there.text_precision == "fp16"
    for entry in entries:
        assert model_footprint(entry, elsewhere).total < model_footprint(entry, there).total


def test_it_is_in_memory_once_and_leaves_with_the_last(entries: list[ModelEntry]) -> None:
    shared = SharedModules(identify(entries, "fp32"))

    def load(entry: ModelEntry) -> Any:
        location = Path(entry.source.path)  # type: ignore[union-attr]
        return load_pipeline(
            entry, location=location, dtype=torch.float32, device="cpu", shared=shared
        )

    sd1, sdxl = (load(entry) for entry in entries)
    assert sd1.text_encoder is sdxl.text_encoder
    assert sd1.text_encoder is not sdxl.text_encoder_2
    encoder = weakref.ref(sd1.text_encoder)
    del sd1
    gc.collect()
    assert load(entries[0]).text_encoder is encoder()
    del sdxl
    gc.collect()
    assert encoder() is None
    assert load(entries[0]).text_encoder is not None


def test_text_encoders_may_be_elsewhere_and_in_another_precision(
    entries: list[ModelEntry], tmp_path: Path
) -> None:
    pipeline = load_pipeline(
        entries[1],
        location=tmp_path / "sdxl",
        dtype=torch.float16,
        device="meta",
        text_dtype=torch.float32,
        text_device="cpu",
    )
    assert pipeline.unet.device.type == pipeline.vae.device.type == "meta"
    assert pipeline.unet.dtype == torch.float16
    for encoder in (pipeline.text_encoder, pipeline.text_encoder_2):
        assert encoder.device.type == "cpu"
        assert encoder.dtype == torch.float32
