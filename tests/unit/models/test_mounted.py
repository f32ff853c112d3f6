"""Folders of models as KServe's storage initializer leaves them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from models import registry
from models.catalog import BUILT_IN, load_catalog
from models.errors import LoadError, UnsafeWeights
from models.export_note import NOTE, EntryNote, ExportNote
from models.finetuned import Provenance
from models.lora import LORA_FILE
from models.mounted import Mounted, is_store, read_mounted
from models.mounted_loras import store_of
from models.sources import DirectorySource, FileSource
from models.store import use

EMBEDDED = BUILT_IN.parent / "embedded"
BASE = load_catalog().get("embedded")


def pipeline(
    folder: Path, kind: str = "StableDiffusionPipeline", weights: bool = True, **config: Any
) -> Path:
    """A folder that looks like a pipeline's, with next to nothing in it."""
    denoiser = "transformer" if "3" in kind else "unet"
    (folder / denoiser).mkdir(parents=True)
    index = {
        "_class_name": kind,
        denoiser: ["diffusers", "UNet2DConditionModel"],
        "text_encoder": [None, None] if "Img2Img" in kind else ["transformers", "CLIPTextModel"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / denoiser / "config.json").write_text(json.dumps({"sample_size": 64, **config}))
    if weights:
        save_file(
            {"w": np.zeros(1, np.float32)},
            folder / denoiser / "diffusion_pytorch_model.safetensors",
        )
    return folder


def checkpoint(file: Path) -> Path:
    save_file({"model.diffusion_model.out.weight": np.zeros(1, np.float32)}, file)
    return file


# The text of the embedded model has 128 channels.
LAYER = ("down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k", (4, 128), (32, 4))


def lora(file: Path) -> Path:
    """A LoRA for the embedded model, as diffusers names its matrices."""
    layer, down, up = LAYER
    matrices = {"lora_A": np.ones(down, np.float32), "lora_B": np.ones(up, np.float32)}
    save_file({f"unet.{layer}.{name}.weight": one for name, one in matrices.items()}, file)
    return file


def kohya(file: Path) -> Path:
    """The same as kohya's scripts name them, with an alpha and without metadata."""
    layer, down, up = LAYER
    name = "lora_unet_" + layer.replace(".", "_")
    tensors = {
        f"{name}.lora_down.weight": np.ones(down, np.float32),
        f"{name}.lora_up.weight": np.ones(up, np.float32),
        f"{name}.alpha": np.array(4, np.float32),
    }
    save_file(tensors, file)
    return file


def names(mounted: Mounted) -> list[str]:
    return [entry.name for entry in mounted.entries]


@pytest.mark.parametrize(
    ("kind", "config", "family", "side", "tasks"),
    [
        ("StableDiffusionPipeline", {}, "sd1", 512, ("txt2img", "img2img", "inpaint")),
        (
            "StableDiffusionPipeline",
            {"cross_attention_dim": 1024, "sample_size": 96},
            "sd2",
            768,
            ("txt2img", "img2img", "inpaint"),
        ),
        ("StableDiffusionInpaintPipeline", {"in_channels": 9}, "sd1", 512, ("inpaint",)),
        (
            "StableDiffusionXLPipeline",
            {"cross_attention_dim": 2048, "sample_size": 128},
            "sdxl",
            1024,
            ("txt2img", "img2img", "inpaint"),
        ),
        ("StableDiffusionXLImg2ImgPipeline", {"sample_size": 128}, "sdxl", 1024, ("img2img",)),
        (
            "StableDiffusion3Pipeline",
            {"sample_size": 128},
            "sd3",
            1024,
            ("txt2img", "img2img", "inpaint"),
        ),
    ],
)
def test_a_bare_pipeline_folder(
    tmp_path: Path, kind: str, config: dict[str, Any], family: str, side: int, tasks: Any
) -> None:
    folder = pipeline(tmp_path / "models", kind, **config)
    (folder / "README.md").write_text("read me")
    (entry,) = read_mounted(folder, "mine").entries

    assert (entry.name, entry.family, entry.tasks) == ("mine", family, tasks)
    assert (entry.defaults.width, entry.defaults.height) == (side, side)
    assert entry.source == DirectorySource(type="directory", path=folder)
    assert entry.licence == "not stated"


def test_base_and_refiner(tmp_path: Path) -> None:
    pipeline(tmp_path / "base", "StableDiffusionXLPipeline")
    pipeline(tmp_path / "a refiner", "StableDiffusionXLImg2ImgPipeline")

    mounted = read_mounted(tmp_path, "sdxl")
    assert names(mounted) == ["sdxl", "a-refiner"]
    assert mounted.entries[0].refiner == "a-refiner"
    assert names(read_mounted(tmp_path, None)) == ["base", "a-refiner"]
    with pytest.raises(LoadError, match="has a refiner of the name a-refiner: rename it"):
        read_mounted(tmp_path, "a-refiner")


def test_several_models(tmp_path: Path) -> None:
    for name in ("first", "second"):
        pipeline(tmp_path / name)
    (tmp_path / "notes").mkdir()
    (tmp_path / "..data").mkdir()

    assert names(read_mounted(tmp_path, None)) == ["first", "second"]
    assert names(read_mounted(tmp_path, "second")) == ["second", "first"]
    with pytest.raises(LoadError, match="SD_MODEL_NAME must be one of these names, got third"):
        read_mounted(tmp_path, "third")


def test_a_checkpoint_with_its_config(tmp_path: Path) -> None:
    file = checkpoint(tmp_path / "Dream_Shaper 8.safetensors")
    with pytest.raises(LoadError, match="put the folder of a diffusers pipeline of its kind"):
        read_mounted(tmp_path, None)
    config = pipeline(tmp_path / "config", weights=False)

    (entry,) = read_mounted(tmp_path, None).entries
    assert entry.name == "dream_shaper-8"
    assert entry.source == FileSource(type="file", path=file, config=config)


@pytest.mark.parametrize("make", [lora, kohya])
def test_a_lora_beside_its_base(tmp_path: Path, make: Any) -> None:
    shutil.copytree(EMBEDDED, tmp_path / "base")
    file = make(tmp_path / "Clay.safetensors")

    mounted = read_mounted(tmp_path, "mine")
    assert names(mounted) == ["mine"]
    (found,) = mounted.loras
    assert (found.name, found.file, found.provenance.base) == ("clay", file, "mine")
    # Each process makes its own store, and all have the same in it.
    assert read_mounted(tmp_path, "mine") == mounted


def test_a_lora_alone_is_for_a_model_that_is_served(tmp_path: Path) -> None:
    lora(tmp_path / "clay.safetensors")

    mounted = read_mounted(tmp_path, None, [BASE])
    assert (mounted.entries, mounted.loras[0].provenance.base) == ((), "embedded")
    with pytest.raises(LoadError, match="it fits 0 of those that are served, none"):
        read_mounted(tmp_path, None)
    twin = BASE.model_copy(update={"name": "twin"})
    with pytest.raises(LoadError, match="it fits 2 of those that are served, embedded, twin"):
        read_mounted(tmp_path, None, [BASE, twin])


def test_a_lora_of_another_kind_of_model(tmp_path: Path) -> None:
    pipeline(tmp_path / "base", "StableDiffusionXLPipeline", cross_attention_dim=2048)
    lora(tmp_path / "clay.safetensors")

    with pytest.raises(LoadError, match=r"it fits 0 .* base: .* text of 128 channels, .* 2048"):
        read_mounted(tmp_path, None)


def test_exports_say_what_they_are(tmp_path: Path) -> None:
    base, tuned = tmp_path / "x", tmp_path / "y"
    shutil.copytree(EMBEDDED, base)
    note = ExportNote(name="embedded", entry=EntryNote.of(BASE))
    (base / NOTE).write_text(note.to_yaml())
    tuned.mkdir()
    lora(tuned / "weights.safetensors")
    provenance = Provenance(
        base="embedded", base_revision="1", subject_token="sks", licence="mine", description="Clay"
    )
    (tuned / NOTE).write_text(ExportNote(name="clay", provenance=provenance).to_yaml())

    mounted = read_mounted(tmp_path, None)
    assert names(mounted) == ["embedded"]
    assert mounted.entries[0].defaults == BASE.defaults
    assert mounted.entries[0].licence == "Apache-2.0"
    assert mounted.loras[0].name == "clay"
    assert mounted.loras[0].provenance == provenance
    renamed = read_mounted(tmp_path, "mine").loras[0].provenance
    assert (renamed.base, renamed.subject_token) == ("mine", "sks")
    (base / NOTE).write_text("name: embedded\n")
    with pytest.raises(LoadError, match="must have either entry or provenance"):
        read_mounted(tmp_path, None)


def test_a_store_of_its_loras(tmp_path: Path, store: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    lora(folder / "clay.safetensors")
    own = store_of(read_mounted(folder, None, [BASE]).loras)

    use(own)

    (found,) = registry.finetuned()
    assert (found.name, found.kind, found.provenance.base) == ("clay", "lora", "embedded")
    assert (found.path / LORA_FILE).read_bytes() == (folder / "clay.safetensors").read_bytes()
    assert found.size == (folder / "clay.safetensors").stat().st_size
    assert registry.get(found.tag) == found
    assert is_store(own)
    assert not is_store(folder)


@pytest.mark.parametrize("name", ["model.ckpt", "pytorch_model.bin"])
def test_pickles_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04.")

    with pytest.raises(UnsafeWeights, match="pickled checkpoint, which is refused"):
        read_mounted(tmp_path, None)


def test_what_only_calls_itself_safetensors(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x80\x04.")

    with pytest.raises(UnsafeWeights, match="not in the safetensors format"):
        read_mounted(tmp_path, None)


def test_other_weights(tmp_path: Path) -> None:
    save_file({"embedding.weight": np.zeros(1, np.float32)}, tmp_path / "model.safetensors")

    with pytest.raises(LoadError, match="neither a checkpoint of Stable Diffusion nor a LoRA"):
        read_mounted(tmp_path, None)


def test_other_pipelines(tmp_path: Path) -> None:
    pipeline(tmp_path / "flux", "FluxPipeline")

    with pytest.raises(LoadError, match="holds a 'FluxPipeline', which is not served"):
        read_mounted(tmp_path, None)


def test_folders_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="has no model: no diffusers pipeline"):
        read_mounted(tmp_path, None)
    with pytest.raises(LoadError, match="does not exist"):
        read_mounted(tmp_path / "nowhere", None)


def test_two_of_one_name(tmp_path: Path) -> None:
    for name in ("My model", "my-model"):
        pipeline(tmp_path / name)

    with pytest.raises(LoadError, match="two models of the name my-model: rename one"):
        read_mounted(tmp_path, None)
