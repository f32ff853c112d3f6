"""Which files are taken for LoRAs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from models.architectures import Family
from models.errors import LoadError, UnsafeWeights
from models.lora import LORA_FILE, check_lora
from tests.loras import save_lora

DOWN, UP = (4, 32), (64, 4)


def write(file: Path, **shapes: tuple[int, ...]) -> Path:
    save_file({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, file)
    return file


def test_what_training_writes_is_one(tmp_path: Path) -> None:
    check_lora(save_lora(tmp_path) / LORA_FILE)


@pytest.mark.parametrize(
    ("down", "up"),
    [
        ("unet.a.to_q.lora_A.weight", "unet.a.to_q.lora_B.weight"),
        ("unet.a.to_q.lora_A.default.weight", "unet.a.to_q.lora_B.default.weight"),
        ("unet.a.to_q.lora.down.weight", "unet.a.to_q.lora.up.weight"),
        ("unet.a.processor.to_q_lora.down.weight", "unet.a.processor.to_q_lora.up.weight"),
        (
            "text_encoder.a.q_proj.lora_linear_layer.down.weight",
            "text_encoder.a.q_proj.lora_linear_layer.up.weight",
        ),
        ("lora_unet_a_to_q.lora_down.weight", "lora_unet_a_to_q.lora_up.weight"),
        ("lora_te_a_q_proj.lora_down.weight", "lora_te_a_q_proj.lora_up.weight"),
    ],
)
def test_conventions(tmp_path: Path, down: str, up: str) -> None:
    check_lora(write(tmp_path / "a.safetensors", **{down: DOWN, up: UP}))


def test_convolutions_and_alphas(tmp_path: Path) -> None:
    shapes = {
        "lora_unet_conv.lora_down.weight": (4, 32, 3, 3),
        "lora_unet_conv.lora_up.weight": (64, 4, 1, 1),
        "lora_unet_conv.alpha": (),
    }
    check_lora(write(tmp_path / "a.safetensors", **shapes))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"conv_in.weight": (4, 4)}, "its tensor 'conv_in.weight' is not a matrix"),
        ({"a.lora_A.weight": DOWN, "a.lora_B.weight": UP}, "its tensor 'a.lora_A.weight'"),
        ({"lora_unet_a.hada_w1_a": DOWN}, "its tensor 'lora_unet_a.hada_w1_a'"),
        ({"lora_unet_a.alpha": ()}, "it has no matrices"),
        ({"unet.a.lora_A.weight": DOWN}, "'unet.a' lacks a matrix"),
        (
            {"unet.a.lora_A.weight": DOWN, "unet.a.lora_B.weight": (64, 8)},
            r"do not fit each other: \[4, 32\] and \[64, 8\]",
        ),
    ],
)
def test_other_files_are_refused(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]], message: str
) -> None:
    with pytest.raises(LoadError, match=message):
        check_lora(write(tmp_path / "a.safetensors", **shapes))


@pytest.mark.parametrize(
    "layer",
    [
        "unet.a.attn2.to_k.lora.{}",
        "unet.a.attn2.processor.to_k_lora.{}",
        "lora_unet_a_attn2_to_k.lora_{}",
    ],
)
def test_loras_of_another_architecture(tmp_path: Path, layer: str) -> None:
    shapes = {f"{layer.format('down')}.weight": (4, 768), f"{layer.format('up')}.weight": UP}
    file = write(tmp_path / "a.safetensors", **shapes)

    check_lora(file, 768)
    check_lora(file)
    with pytest.raises(LoadError, match=r"takes text of 768 channels, .* named here 1024"):
        check_lora(file, 1024)


@pytest.mark.parametrize(
    ("layer", "family", "other"),
    [
        ("transformer.a.{}", "sd3", "sd1"),
        ("text_encoder_2.a.{}", "sdxl", "sd1"),
        ("lora_te2_a.{}", "sdxl", "sd2"),
        ("transformer.a.{}", "sd3", "sdxl"),
        ("unet.a.{}", "sdxl", "sd3"),
    ],
)
def test_loras_of_models_with_other_parts(
    tmp_path: Path, layer: str, family: Family, other: Family
) -> None:
    shapes = {layer.format("lora_A.weight"): DOWN, layer.format("lora_B.weight"): UP}
    file = write(tmp_path / "a.safetensors", **shapes)

    check_lora(file, family=family)
    with pytest.raises(LoadError, match="has no part for its tensor"):
        check_lora(file, family=other)


def test_only_safetensors(tmp_path: Path) -> None:
    for name in ("a.bin", "a.safetensors"):
        file = tmp_path / name
        file.write_bytes(b"\x80\x04pickle, or anything")
        with pytest.raises(UnsafeWeights):
            check_lora(file)
