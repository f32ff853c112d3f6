from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

import bentoml
import pytest
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, SD3Transformer2DModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModelWithProjection, T5EncoderModel

from models.budget import model_bytes
from models.catalog import ModelEntry, load_catalog
from models.errors import LoadError
from models.footprint import weight_bytes
from models.loading import load_pipeline
from models.store import resolve
from tests.unit.models import tiny
from tests.unit.models.conftest import DEFAULTS, edit_index, load, make_entry
from tests.unit.models.single_file import save_single_file
from tests.unit.models.test_weights import loaded_bytes


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("loading used the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def weights(pipeline: DiffusionPipeline) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value
        for name in ("unet", "vae", "text_encoder")
        for key, value in getattr(pipeline, name).state_dict().items()
    }


def assert_same_weights(pipeline: DiffusionPipeline, other: DiffusionPipeline) -> None:
    ours, theirs = weights(pipeline), weights(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_embedded_model_loads_in_every_precision(dtype: torch.dtype) -> None:
    entry = load_catalog().get("embedded")
    location = resolve(entry, "fp32")
    pipeline = load_pipeline(entry, location=location, dtype=dtype, device="cpu")
    assert pipeline.unet.dtype == pipeline.vae.dtype == pipeline.text_encoder.dtype == dtype
    assert not pipeline.unet.training
    assert not any(parameter.requires_grad for parameter in pipeline.unet.parameters())
    assert pipeline.safety_checker is None
    stored = load_file(location / "unet" / "diffusion_pytorch_model.safetensors")
    loaded = pipeline.unet.state_dict()
    assert loaded.keys() == stored.keys()
    assert all(torch.equal(loaded[key], value.to(dtype)) for key, value in stored.items())


def test_directory_single_file_and_bento_tag_give_the_same_weights(
    folder: Path, store: Path, tmp_path: Path
) -> None:
    def load_from(**source: str) -> DiffusionPipeline:
        entry = make_entry(source=source)
        return load_pipeline(
            entry, location=resolve(entry, "fp32"), dtype=torch.float32, device="cpu"
        )

    expected = tiny.stable_diffusion()
    assert_same_weights(load_from(type="directory", path=str(folder)), expected)

    config = tmp_path / "config"
    shutil.copytree(folder, config, ignore=shutil.ignore_patterns("*.safetensors"))
    file = tmp_path / "model.safetensors"
    save_single_file(expected, file)
    from_file = load_from(type="file", path=str(file), config=str(config))
    assert_same_weights(from_file, expected)
    assert not from_file.unet.training

    with bentoml.models.create("own-model:v1") as model:
        shutil.copytree(folder, model.path, dirs_exist_ok=True)
    assert_same_weights(load_from(type="bentoml", tag="own-model:v1"), expected)


def test_fp16_takes_the_fp16_files_and_fp32_the_others(repo_folder: Path) -> None:
    half = load(repo_folder, torch.float16)
    full = load(repo_folder, torch.float32)
    assert torch.equal(half.unet.conv_in.weight, full.unet.conv_in.weight.half())
    assert not torch.equal(half.unet.conv_in.weight.float(), full.unet.conv_in.weight)


def test_a_component_without_fp16_files_is_cast(repo_folder: Path, tmp_path: Path) -> None:
    """As in the SD3 repositories, where only the text encoders have them."""
    path = tmp_path / "mixed"
    shutil.copytree(repo_folder, path)
    for file in (path / "unet").glob("*.fp16.*"):
        file.unlink()
    (path / "text_encoder" / "model.safetensors").unlink()
    for dtype in (torch.float16, torch.float32):
        pipeline = load(path, dtype)
        assert pipeline.unet.dtype == pipeline.text_encoder.dtype == dtype


@pytest.mark.parametrize("single_file", [False, True])
def test_loading_never_changes_the_default_dtype(
    folder: Path, tmp_path: Path, single_file: bool
) -> None:
    """Other threads make tensors meanwhile; the default is one for the whole process."""
    location: Path = folder
    changes: dict[str, Any] = {}
    if single_file:
        location = tmp_path / "model.safetensors"
        save_single_file(tiny.stable_diffusion(), location)
        config = tmp_path / "config"
        shutil.copytree(folder, config, ignore=shutil.ignore_patterns("*.safetensors"))
        changes["source"] = {"type": "file", "path": str(location), "config": str(config)}
    seen: set[torch.dtype] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.add(torch.get_default_dtype())
            time.sleep(0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        pipeline = load(location, torch.float16, **changes)
    finally:
        done.set()
        watcher.join()
    assert pipeline.unet.dtype == pipeline.vae.dtype == pipeline.text_encoder.dtype == torch.float16
    assert seen == {torch.float32}


def test_an_inpainting_pipeline(tmp_path: Path) -> None:
    expected = tiny.inpainting()
    expected.save_pretrained(tmp_path)
    pipeline = load(tmp_path, tasks=["inpaint"])
    assert pipeline.unet.config.in_channels == 9
    assert_same_weights(pipeline, expected)


@pytest.mark.parametrize("refiner", [False, True])
def test_sdxl(tmp_path: Path, refiner: bool) -> None:
    tiny.sdxl(refiner=refiner).save_pretrained(tmp_path)
    tasks = ["img2img"] if refiner else ["txt2img", "img2img"]
    pipeline = load(tmp_path, torch.float16, family="sdxl", tasks=tasks)
    expected = "StableDiffusionXLImg2ImgPipeline" if refiner else "StableDiffusionXLPipeline"
    assert type(pipeline).__name__ == expected
    assert bool(pipeline.config.get("requires_aesthetics_score")) is refiner
    assert pipeline.unet.dtype == pipeline.text_encoder_2.dtype == torch.float16


@pytest.mark.parametrize("force_upcast", [True, False])
def test_a_vae_of_sdxl_that_overflows_in_fp16_stays_in_fp32(
    tmp_path: Path, force_upcast: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Unless it is the one that was mended, whose config says so."""
    expected = tiny.sdxl(refiner=False)
    expected.vae.register_to_config(force_upcast=force_upcast)
    expected.save_pretrained(tmp_path)
    with caplog.at_level("INFO", logger="models.loading"):
        pipeline = load(tmp_path, torch.float16, family="sdxl")
    assert pipeline.vae.dtype == (torch.float32 if force_upcast else torch.float16)
    assert f"its VAE is in {'fp32' if force_upcast else 'the model'}" in caplog.text
    if force_upcast:
        state = pipeline.vae.state_dict()
        assert all(torch.equal(state[name], w) for name, w in expected.vae.state_dict().items())


def test_sd3(tmp_path: Path) -> None:
    tiny.sd3().save_pretrained(tmp_path)
    pipeline = load(tmp_path, family="sd3", defaults={**DEFAULTS, "scheduler": "euler"})
    assert type(pipeline).__name__ == "StableDiffusion3Pipeline"
    assert not pipeline.transformer.training


def test_the_layout_of_the_first_repositories(folder: Path, tmp_path: Path) -> None:
    """SD 1.5 as published: a safety checker, a slow tokenizer, prefixed text encoder weights."""
    path = edit_index(
        folder,
        tmp_path,
        safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"],
        feature_extractor=["transformers", "CLIPImageProcessor"],
        requires_safety_checker=True,
    )
    file = path / "text_encoder" / "model.safetensors"
    encoder = {
        f"text_model.{key.removeprefix('text_model.')}": value
        for key, value in load_file(file).items()
    }
    encoder["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(encoder, file)
    tokenizer = path / "tokenizer"
    parts = json.loads((tokenizer / "tokenizer.json").read_text())["model"]
    (tokenizer / "tokenizer.json").unlink()
    (tokenizer / "vocab.json").write_text(json.dumps(parts["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in parts["merges"])
    (tokenizer / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")

    pipeline = load(path)
    assert pipeline.safety_checker is None
    assert_same_weights(pipeline, tiny.stable_diffusion())
    prompt = "a red apple on a blue background"
    assert pipeline.tokenizer(prompt).input_ids == tiny.tokenizer()(prompt).input_ids


def test_the_wrong_family_is_an_error(folder: Path) -> None:
    with pytest.raises(LoadError, match=r"tiny is in the catalog as sdxl, but .* StableDiffusionP"):
        load(folder, family="sdxl")


def test_missing_files_are_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"no model_index\.json"):
        load(tmp_path)
    with pytest.raises(LoadError, match="does not exist"):
        load(tmp_path / "nothing.safetensors")
    path = tmp_path / "broken"
    shutil.copytree(folder, path)
    (path / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(LoadError, match="tiny cannot be loaded from"):
        load(path)


def sd3_entry(**changes: Any) -> ModelEntry:
    defaults = {**DEFAULTS, "scheduler": "euler"}
    return make_entry(family="sd3", defaults=defaults, **changes)


def test_the_layers_of_t5_that_overflow_in_fp16_stay_in_fp32(tmp_path: Path) -> None:
    expected = tiny.sd3(t5=True)
    expected.save_pretrained(tmp_path)
    entry = sd3_entry()
    for dtype in (torch.float16, torch.bfloat16):
        pipeline = load_pipeline(entry, location=tmp_path, dtype=dtype, device="cpu")
        kept = {
            name: weights.dtype
            for name, weights in pipeline.text_encoder_3.named_parameters()
            if weights.dtype != dtype
        }
        if dtype == torch.bfloat16:
            assert not kept
            continue
        assert set(kept.values()) == {torch.float32}
        assert {name.split(".")[-2] for name in kept} == {"wo"}
        for name in kept:
            stored = expected.text_encoder_3.get_parameter(name)
            assert torch.equal(pipeline.text_encoder_3.get_parameter(name), stored)
        assert weight_bytes(tmp_path, "fp16") == loaded_bytes(pipeline)


def test_without_t5_its_files_need_not_be_there(tmp_path: Path) -> None:
    tiny.sd3(t5=True).save_pretrained(tmp_path)
    whole = weight_bytes(tmp_path, "fp32")
    entry = sd3_entry(
        text_encoders=["clip_l", "clip_g"],
        source={"type": "directory", "path": str(tmp_path)},
    )
    for there in (True, False):
        if not there:
            shutil.rmtree(tmp_path / "text_encoder_3")
            shutil.rmtree(tmp_path / "tokenizer_3")
        pipeline = load_pipeline(entry, location=tmp_path, dtype=torch.float32, device="cpu")
        assert pipeline.text_encoder_3 is None
        assert pipeline.tokenizer_3 is None
        assert sum(model_bytes(entry, "fp32").values()) == loaded_bytes(pipeline) < whole


def test_a_component_is_converted_before_the_next_one_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that never more than one of them takes fp32's memory."""
    tiny.sd3(t5=True).save_pretrained(tmp_path)
    seen: list[torch.nn.Module] = []
    for kind in (T5EncoderModel, SD3Transformer2DModel, AutoencoderKL, CLIPTextModelWithProjection):

        def noting(*arguments: Any, original: Any = kind.from_pretrained, **named: Any) -> Any:
            assert all(module.dtype == torch.bfloat16 for module in seen)
            seen.append(original(*arguments, **named))
            return seen[-1]

        monkeypatch.setattr(kind, "from_pretrained", noting)
    load_pipeline(sd3_entry(), location=tmp_path, dtype=torch.bfloat16, device="cpu")
    assert len(seen) == 5
