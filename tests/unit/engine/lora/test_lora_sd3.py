"""LoRAs of Stable Diffusion 3: as the stock pipeline applies them, alone and in one pass; and those
in the format of kohya's trainer, which that cannot read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers
from safetensors.torch import save_file

from contract.request import LoraUse
from engine.lora.adapter import Adapter
from engine.pipelines.stable_diffusion_3 import StableDiffusion3
from models.errors import LoadError
from models.lora import LORA_FILE
from tests.unit.engine.lora.lora_files import TEXT, write_diffusers
from tests.unit.engine.reference import (
    assert_same_latents,
    assert_same_picture,
    denoise,
    in_channels_last,
    request_for,
    stock,
)
from tests.unit.models import tiny

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "add_k_proj", "add_v_proj", "to_add_out")
FURTHER = (
    "norm1.linear",
    "ff.net.0.proj",
    "proj_out",
    "context_embedder",
    "linear_1",
    "pos_embed.proj",
)
SCALES = {"style": 0.8, "subject": -0.6}
USES = tuple(LoraUse(f"{name}:1", scale) for name, scale in SCALES.items())
SKIPS: dict[str, Any] = {"skip_layers": (1, 3), "skip_layer_end": 0.9}


@pytest.fixture(scope="module")
def model() -> StableDiffusion3:
    return StableDiffusion3(tiny.sd3(newer=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loras")
    write_diffusers(folder / "style", tiny.sd3(newer=True), seed=1, unet=(), transformer=ATTENTION)
    write_diffusers(
        folder / "subject",
        tiny.sd3(newer=True),
        seed=2,
        unet=(),
        transformer=(*ATTENTION, *FURTHER),
        text=TEXT,
        r=3,
    )
    return folder


@pytest.fixture(scope="module")
def adapters(model: StableDiffusion3, folder: Path) -> dict[str, Adapter]:
    return {use.tag: model.load_adapter(folder / use.name) for use in USES}


@pytest.fixture(scope="module")
def stock_pipeline(folder: Path) -> Any:
    pipeline = in_channels_last(tiny.sd3(newer=True))
    for name in SCALES:
        pipeline.load_lora_weights(folder / name, weight_name=LORA_FILE, adapter_name=name)
    return pipeline


def set_for(pipeline: Any, loras: tuple[LoraUse, ...]) -> Any:
    if loras:
        pipeline.enable_lora()
        pipeline.set_adapters([use.name for use in loras], [use.scale for use in loras])
    else:
        pipeline.disable_lora()
    return pipeline


@pytest.mark.parametrize("task", ["txt2img", "img2img"])
@pytest.mark.parametrize("loras", [USES[:1], USES[1:], USES], ids=["one", "with-text", "both"])
def test_alone_equals_the_stock_pipeline(
    model: StableDiffusion3,
    adapters: dict[str, Adapter],
    stock_pipeline: Any,
    photo: bytes,
    task: str,
    loras: tuple[LoraUse, ...],
) -> None:
    request = request_for("euler", task, photo, loras=loras, num_inference_steps=4, **SKIPS)
    assert_same_latents(model, request, set_for(stock_pipeline, loras), adapters)


def test_in_one_pass_each_has_its_own(
    model: StableDiffusion3, adapters: dict[str, Adapter], stock_pipeline: Any, photo: bytes
) -> None:
    """Beside rows that skip layers, and have other LoRAs or none."""
    requests = [
        request_for("euler", task, photo, loras=loras, num_inference_steps=steps, **SKIPS)
        for loras, task, steps in [
            (USES[:1], "txt2img", 5),
            ((), "txt2img", 4),
            (USES, "inpaint", 6),
            (USES[1:], "txt2img", 4),
            (USES[:1], "img2img", 3),
        ]
    ]
    states = denoise(model, requests, adapters)
    assert len({state.shape_key for state in states}) == 1
    for request, state in zip(requests, states, strict=True):
        expected = stock(set_for(stock_pipeline, request.loras), request, "pil")[0]
        assert_same_picture(model, state, expected)


def authors_layers(transformer: Any) -> dict[str, torch.Size]:
    """The layers of the transformer in its authors' code, and the shapes of their weights."""
    shapes = {name: tensor.shape for name, tensor in transformer.state_dict().items()}

    def fused(path: str) -> torch.Size:
        rows, columns = shapes[f"{path}.weight"]
        return torch.Size([3 * rows, columns])

    layers = {
        "x_embedder.proj": shapes["pos_embed.proj.weight"],
        "context_embedder": shapes["context_embedder.weight"],
        "final_layer.linear": shapes["proj_out.weight"],
        "final_layer.adaLN_modulation.1": shapes["norm_out.linear.weight"],
    }
    for theirs, ours in (("t_embedder", "timestep_embedder"), ("y_embedder", "text_embedder")):
        for number, linear in ((0, 1), (2, 2)):
            name = f"time_text_embed.{ours}.linear_{linear}.weight"
            layers[f"{theirs}.mlp.{number}"] = shapes[name]
    last = len(transformer.transformer_blocks) - 1
    for number in range(last + 1):
        ours, theirs = f"transformer_blocks.{number}", f"joint_blocks.{number}"
        layers[f"{theirs}.x_block.attn.qkv"] = fused(f"{ours}.attn.to_q")
        layers[f"{theirs}.x_block.attn.proj"] = shapes[f"{ours}.attn.to_out.0.weight"]
        layers[f"{theirs}.context_block.attn.qkv"] = fused(f"{ours}.attn.add_q_proj")
        layers[f"{theirs}.x_block.adaLN_modulation.1"] = shapes[f"{ours}.norm1.linear.weight"]
        layers[f"{theirs}.context_block.adaLN_modulation.1"] = shapes[
            f"{ours}.norm1_context.linear.weight"
        ]
        if f"{ours}.attn2.to_q.weight" in shapes:
            layers[f"{theirs}.x_block.attn2.qkv"] = fused(f"{ours}.attn2.to_q")
            layers[f"{theirs}.x_block.attn2.proj"] = shapes[f"{ours}.attn2.to_out.0.weight"]
        sides = [("x_block", "ff")] + [("context_block", "ff_context")] * (number < last)
        for side, feed_forward in sides:
            layers[f"{theirs}.{side}.mlp.fc1"] = shapes[f"{ours}.{feed_forward}.net.0.proj.weight"]
            layers[f"{theirs}.{side}.mlp.fc2"] = shapes[f"{ours}.{feed_forward}.net.2.weight"]
        if number < last:
            layers[f"{theirs}.context_block.attn.proj"] = shapes[f"{ours}.attn.to_add_out.weight"]
    return layers


def write_kohya(folder: Path, pipeline: Any) -> dict[str, torch.Tensor]:
    """As kohya's trainer writes it, with all layers and the first text encoder's projections.

    Returns:
        By the layers of diffusers, what is to be added to their weights.
    """
    generator = torch.Generator().manual_seed(0)
    state: dict[str, torch.Tensor] = {}

    def add(name: str, shape: torch.Size, rank: int, alpha: float) -> torch.Tensor:
        down = torch.randn((rank, *shape[1:]), generator=generator)
        up = torch.randn((shape[0], rank, *(1,) * (len(shape) - 2)), generator=generator)
        state[f"{name}.lora_down.weight"], state[f"{name}.lora_up.weight"] = down, up
        state[f"{name}.alpha"] = torch.tensor(alpha)
        return (up.flatten(1) @ down.flatten(1)).view(shape) * (alpha / rank)

    checkpoint: dict[str, torch.Tensor] = {"pos_embed": torch.zeros(1)}
    for number, (layer, shape) in enumerate(authors_layers(pipeline.transformer).items()):
        name = f"lora_unet_{layer.replace('.', '_')}"
        checkpoint[f"{layer}.weight"] = add(name, shape, 2 + number % 2, 1.0 + number % 3)
        checkpoint[f"{layer}.bias"] = torch.zeros(shape[0])
        if layer.endswith("qkv"):
            # diffusers looks at these for whether queries and keys are normalised.
            for norm in ("ln_q", "ln_k"):
                checkpoint[f"{layer.removesuffix('qkv')}{norm}.weight"] = torch.zeros(8)
    added = {
        f"transformer.{key.removesuffix('.weight')}": weights
        for key, weights in convert_sd3_transformer_checkpoint_to_diffusers(checkpoint).items()
        if weights.ndim > 1
    }
    for path, layer in pipeline.text_encoder_2.named_modules():
        if path.endswith(("q_proj", "out_proj")):
            name = f"lora_te2_text_model_{path.removeprefix('text_model.').replace('.', '_')}"
            added[f"text_encoder_2.{path}"] = add(name, layer.weight.shape, 2, 3.0)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / LORA_FILE)
    return added


def test_a_kohya_file_adds_what_its_authors_layers_say(
    model: StableDiffusion3, tmp_path: Path
) -> None:
    expected = write_kohya(tmp_path, tiny.sd3(newer=True))
    components = model.load_adapter(tmp_path).components
    found = {
        f"{name}.{path}": layer
        for name, layers in components.items()
        for path, layer in layers.items()
    }
    assert found.keys() == expected.keys()
    for path, layer in found.items():
        added = (layer.up.flatten(1) @ layer.down.flatten(1)).view(expected[path].shape)
        assert torch.allclose(added * layer.scaling, expected[path], atol=1e-5), path


def test_it_changes_the_picture(model: StableDiffusion3, tmp_path: Path, photo: bytes) -> None:
    write_kohya(tmp_path, tiny.sd3(newer=True))
    adapters = {"kohya:1": model.load_adapter(tmp_path)}
    plain, tuned = (
        request_for("euler", "txt2img", photo, loras=loras)
        for loras in ((), (LoraUse("kohya:1", 0.1),))
    )
    states = denoise(model, [plain, tuned], adapters)
    assert (states[0].latents - states[1].latents).abs().max() > 0.1


@pytest.mark.parametrize(
    ("key", "shape", "message"),
    [
        ("lora_unet_joint_blocks_0_x_block_attn_out", (32, 32), "no layer"),
        ("lora_unet_down_blocks_0_attn_to_q", (32, 32), "no layer"),
        ("lora_unet_joint_blocks_9_x_block_attn_proj", (32, 32), "not found in the base"),
        ("lora_unet_joint_blocks_0_x_block_attn_proj", (64, 64), "another architecture"),
        ("lora_te3_encoder_block_0_layer_0_SelfAttention_q", (80, 80), "another kind|not a LoRA"),
    ],
)
def test_what_does_not_fit_is_refused(
    model: StableDiffusion3, tmp_path: Path, key: str, shape: tuple[int, int], message: str
) -> None:
    state = {
        f"{key}.lora_down.weight": torch.zeros(2, shape[1]),
        f"{key}.lora_up.weight": torch.zeros(shape[0], 2),
        f"{key}.alpha": torch.tensor(2.0),
    }
    save_file(state, tmp_path / LORA_FILE)
    with pytest.raises(LoadError, match=message):
        model.load_adapter(tmp_path)
