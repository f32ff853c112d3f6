"""LoRA files (Hu et al. 2021, https://arxiv.org/abs/2106.09685): what is in one, by its header."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from models.architectures import ARCHITECTURES, Family
from models.errors import LoadError
from models.footprint import weight_bytes
from models.weights import read_header

# What diffusers' ``save_lora_weights`` calls it.
LORA_FILE: Final = "pytorch_lora_weights.safetensors"

# Keys of diffusers and peft start with the component, those of kohya's scripts have it in their
# first word. A layer has two matrices, whose names changed over the years:
# https://huggingface.co/docs/diffusers/main/en/tutorials/using_peft_for_inference, and
# https://github.com/kohya-ss/sd-scripts/blob/main/networks/lora.py.
_COMPONENTS: Final = {
    "unet": re.compile(r"unet\.|lora_unet_"),
    "transformer": re.compile(r"transformer\.|lora_unet_"),
    "text_encoder": re.compile(r"text_encoder\.|lora_te1?_"),
    "text_encoder_2": re.compile(r"text_encoder_2\.|lora_te2_"),
}
_MATRIX = re.compile(
    r"^(?P<layer>.+)[._](?:lora[._]|lora_linear_layer\.)(?P<side>down|up|A|B)(?:\.default)?\.weight$"
)
_SIDES: Final = {"down": "down", "A": "down", "up": "up", "B": "up"}


def check_lora(file: Path, text_channels: int | None = None, family: Family | None = None) -> None:
    """Raise unless ``file`` holds a LoRA, by its header alone.

    Args:
        text_channels: of the text that the base's denoiser takes (768 for SD 1, 1024 for SD 2),
            where that is known.
        family: of the base, where that is known.

    Raises:
        UnsafeWeights: it is not in the safetensors format.
        LoadError: it is something else, of another kind of base, or of a kind that is not served
            (DoRA, LoHa, LoKr).
    """
    header: dict[str, Mapping[str, Any]] = read_header(file)
    header.pop("__metadata__", None)
    architectures = list(ARCHITECTURES.values()) if family is None else [ARCHITECTURES[family]]
    components = frozenset[str]().union(*(each.lora_components for each in architectures))
    takes_text = re.compile("|".join(f"(?:{each.text_layer})$" for each in architectures))
    pairs: dict[str, dict[str, list[int]]] = {}
    for key, tensor in header.items():
        if key.endswith(".alpha"):
            continue
        match = _MATRIX.match(key)
        if match is None or not _belongs_to(key, _COMPONENTS.keys()):
            raise LoadError(
                f"{file.name} is not a LoRA that can be served: its tensor '{key[:120]}' is not "
                "a matrix that adds to a layer."
            )
        if not _belongs_to(key, components):
            raise LoadError(
                f"{file.name} is a LoRA of another kind of base: the one named here has no part "
                f"for its tensor '{key[:120]}'."
            )
        pairs.setdefault(match["layer"], {})[_SIDES[match["side"]]] = tensor["shape"]
    if not pairs:
        raise LoadError(f"{file.name} is not a LoRA: it has no matrices.")
    for layer, shapes in pairs.items():
        if shapes.keys() != {"down", "up"}:
            raise LoadError(f"{file.name} is not a whole LoRA: '{layer[:120]}' lacks a matrix.")
        down, up = shapes["down"], shapes["up"]
        if len(down) < 2 or len(up) != len(down) or down[0] != up[1]:
            raise LoadError(
                f"{file.name} is not a LoRA: the matrices of '{layer[:120]}' do not fit each "
                f"other: {down} and {up}."
            )
        if text_channels not in (None, down[1]) and takes_text.search(layer):
            raise LoadError(
                f"{file.name} is a LoRA of another kind of base: its denoiser takes text of "
                f"{down[1]} channels, that of the base named here {text_channels}."
            )


def _belongs_to(key: str, components: Collection[str]) -> bool:
    return any(_COMPONENTS[component].match(key) for component in components)


@lru_cache(maxsize=4096)
def lora_bytes(folder: Path, precision: str) -> int:
    """Bytes that a registered LoRA's weights take in memory.

    Args:
        folder: in the model store. It is named by a hash of what is in it, so the result is kept.
        precision: fp32, fp16 or bf16.

    Raises:
        LoadError: the file is missing or broken.
    """
    return weight_bytes(folder / LORA_FILE, precision)
