"""LoRA files: what is read from them, and which are refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from engine.lora.adapter import Adapter
from engine.pipelines.stable_diffusion import StableDiffusion
from engine.pipelines.stable_diffusion_xl import StableDiffusionXL
from models.errors import LoadError, UnsafeWeights
from models.lora import LORA_FILE
from tests.unit.engine.lora.lora_files import (
    ATTENTION,
    CONVOLUTIONS,
    FURTHER,
    TEXT,
    write_diffusers,
    write_kohya,
)
from tests.unit.models import tiny

pytestmark = pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::UserWarning", "ignore::RuntimeWarning"
)

ALL = (*ATTENTION, *CONVOLUTIONS, *FURTHER)


@pytest.fixture(scope="module")
def model() -> StableDiffusion:
    return StableDiffusion(tiny.stable_diffusion())


@pytest.fixture(scope="module")
def xl_model() -> StableDiffusionXL:
    return StableDiffusionXL(tiny.sdxl(refiner=False))


def layers(adapter: Adapter) -> dict[str, Any]:
    return {
        f"{name}.{path}": layer
        for name, part in adapter.components.items()
        for path, layer in part.items()
    }


@pytest.mark.parametrize(
    ("described", "config"),
    [
        (False, {}),
        (True, {}),
        (True, {"use_rslora": True}),
        (True, {"rank_pattern": {"to_q": 2, "fc1": 1}, "alpha_pattern": {"conv1": 3, "fc1": 7}}),
    ],
)
def test_what_the_stock_pipeline_loads_is_loaded(
    model: StableDiffusion, tmp_path: Path, described: bool, config: dict[str, Any]
) -> None:
    write_diffusers(
        tmp_path, tiny.stable_diffusion(), unet=ALL, text=TEXT, described=described, **config
    )
    found = layers(model.load_adapter(tmp_path))
    stock = tiny.stable_diffusion()
    stock.load_lora_weights(tmp_path, weight_name=LORA_FILE, adapter_name="it")
    expected: dict[str, Any] = {
        f"{name}.{path}": layer
        for name in ("unet", "text_encoder")
        for path, layer in getattr(stock, name).named_modules()
        if isinstance(layer, LoraLayer)
    }
    assert found.keys() == expected.keys()
    for path, layer in expected.items():
        weights: Any = layer.state_dict()
        assert torch.equal(found[path].down, weights["lora_A.it.weight"])
        assert torch.equal(found[path].up, weights["lora_B.it.weight"])
        assert found[path].scaling == pytest.approx(layer.scaling["it"])


@pytest.mark.parametrize("xl", [False, True], ids=["sd1", "sdxl"])
def test_every_layer_of_a_kohya_file_has_its_own_alpha(
    model: StableDiffusion, xl_model: StableDiffusionXL, tmp_path: Path, xl: bool
) -> None:
    added = write_kohya(
        tmp_path,
        tiny.sdxl(refiner=False) if xl else tiny.stable_diffusion(),
        unet=ALL,
        text=TEXT,
        alphas=(1, 2, 3, 4, 5),
        ranks=(4, 4, 2),
    )
    found = layers((xl_model if xl else model).load_adapter(tmp_path))
    assert any(path.startswith("text_encoder_2.") for path in found) is xl
    assert found.keys() == added.keys()
    for path, (weights, scaling) in added.items():
        layer = found[path]
        assert layer.scaling == pytest.approx(scaling), path
        product = (layer.up.flatten(1) @ layer.down.flatten(1)).view(weights.shape)
        assert torch.allclose(product, weights, atol=1e-5)


@pytest.mark.parametrize("text_model", ["", "text_model."])
def test_keys_with_the_name_of_peft_s_adapter(
    model: StableDiffusion, tmp_path: Path, text_model: str
) -> None:
    write_diffusers(tmp_path, tiny.stable_diffusion(), text=TEXT, described=False)
    expected = layers(model.load_adapter(tmp_path))
    file = tmp_path / LORA_FILE
    renamed = {
        key.replace("text_encoder.", f"text_encoder.{text_model}").replace(
            ".weight", ".default.weight"
        ): weight
        for key, weight in load_file(file).items()
    }
    save_file(renamed, file)
    found = layers(model.load_adapter(tmp_path))
    assert found.keys() == expected.keys()
    for path, layer in expected.items():
        assert torch.equal(found[path].down, layer.down)
        assert torch.equal(found[path].up, layer.up)
        assert found[path].scaling == layer.scaling


def test_its_memory_is_that_of_its_weights(model: StableDiffusion, tmp_path: Path) -> None:
    adapter = model.load_adapter(write_diffusers(tmp_path, tiny.stable_diffusion(), text=TEXT))
    weights = load_file(tmp_path / LORA_FILE).values()
    assert adapter.memory == sum(weight.nbytes for weight in weights)


def test_the_model_is_not_touched(model: StableDiffusion, tmp_path: Path) -> None:
    before = {
        name: weight.data_ptr() for name, weight in model._components["unet"].named_parameters()
    }
    default = torch.get_default_dtype()
    config = model._components["text_encoder"].config.to_dict()
    model.load_adapter(write_diffusers(tmp_path, tiny.stable_diffusion(), text=TEXT))
    assert {
        name: weight.data_ptr() for name, weight in model._components["unet"].named_parameters()
    } == before
    assert model._components["text_encoder"].config.to_dict() == config
    assert torch.get_default_dtype() == default
    assert not any(isinstance(layer, LoraLayer) for layer in model._components["unet"].modules())


def described(file: Path, **settings: Any) -> None:
    """Change what a file says about its UNet's part."""
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    config = json.loads(metadata["lora_adapter_metadata"])
    config |= {f"unet.{key}": value for key, value in settings.items()}
    save_file(load_file(file), file, {**metadata, "lora_adapter_metadata": json.dumps(config)})


def changed(file: Path, change: Callable[[str, torch.Tensor], dict[str, torch.Tensor]]) -> None:
    state = load_file(file)
    save_file({k: v for key, value in state.items() for k, v in change(key, value).items()}, file)


HALF = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora_B.weight"
SPOILED: dict[str, tuple[Callable[[Path], None], str]] = {
    "an unknown layer": (
        lambda file: changed(
            file, lambda key, value: {key.replace("mid_block", "no_block"): value}
        ),
        "the model has no such layers: no_block",
    ),
    "not finite": (
        lambda file: changed(file, lambda key, value: {key: value / 0}),
        "are not finite",
    ),
    "another width": (
        lambda file: changed(
            file, lambda key, value: {key: value[:, 1:].clone() if "lora_A" in key else value}
        ),
        "it was made for another architecture",
    ),
    "a second text encoder": (
        lambda file: changed(file, lambda key, value: {f"text_encoder_2.{key[5:]}": value}),
        "for other components than unet, text_encoder: ",
    ),
    "half of it missing": (
        lambda file: changed(file, lambda key, value: {} if key == HALF else {key: value}),
        "lacks a matrix",
    ),
    "DoRA": (lambda file: described(file, use_dora=True), "it was made with use_dora: True"),
    "imports": (
        lambda file: described(file, megatron_config={"a": 1}, megatron_core="antigravity"),
        "it was made with megatron_",
    ),
    "nonsense in its description": (
        lambda file: described(file, rank_pattern={"(": 3}),
        "cannot be read as a LoRA",
    ),
    "the magnitudes of DoRA": (
        lambda file: changed(
            file, lambda key, value: {key: value, f"{key[:-7]}.dora_scale": value[:1].clone()}
        ),
        "is not a matrix",
    ),
    "LoHa": (
        lambda file: changed(file, lambda key, value: {key.replace("lora_A", "hada_w1_a"): value}),
        "is not a matrix",
    ),
}


@pytest.mark.parametrize("spoil", SPOILED)
def test_what_does_not_fit_is_refused(model: StableDiffusion, tmp_path: Path, spoil: str) -> None:
    write_diffusers(tmp_path, tiny.stable_diffusion())
    change, message = SPOILED[spoil]
    change(tmp_path / LORA_FILE)
    with pytest.raises(LoadError, match=message):
        model.load_adapter(tmp_path)


def test_a_file_that_would_be_read_in_part_is_refused(
    xl_model: StableDiffusionXL, tmp_path: Path
) -> None:
    """With blocks under the names of both codes, diffusers leaves out one half in silence."""
    write_kohya(tmp_path, tiny.sdxl(refiner=False))
    file = tmp_path / LORA_FILE
    state = load_file(file)
    block = "lora_unet_middle_block_1"
    renamed = {
        key.replace(block, "lora_unet_mid_block_attentions_0"): weight
        for key, weight in state.items()
    }
    save_file(renamed, file)
    with pytest.raises(LoadError, match=r"only 16 of its \d+ matrices can be read"):
        xl_model.load_adapter(tmp_path)


def test_one_for_a_larger_model_is_refused(
    model: StableDiffusion, tmp_path: Path, pipeline: StableDiffusionPipeline
) -> None:
    write_diffusers(tmp_path, pipeline)
    with pytest.raises(LoadError, match=r"no such layers|another architecture"):
        model.load_adapter(tmp_path)


def test_pickles_are_refused(model: StableDiffusion, tmp_path: Path) -> None:
    (tmp_path / LORA_FILE).write_bytes(pickle.dumps({"unet.a": 1}))
    with pytest.raises(UnsafeWeights):
        model.load_adapter(tmp_path)
    with pytest.raises(LoadError, match="does not exist"):
        model.load_adapter(tmp_path / "nowhere")
