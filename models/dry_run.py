"""A model without its weights: what its components are, and what a pass takes, by its configs."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

# Read once, when diffusers is imported: code that comes with a model is never run.
os.environ["DIFFUSERS_DISABLE_REMOTE_CODE"] = "1"

import diffusers
import torch
import transformers

from models.activations import peak_bytes
from models.dtypes import DTYPES
from models.errors import LoadError
from models.footprint import exact_layers, tensor_bytes
from models.quantization import Scheme
from models.weights import read_json

_DIFFUSERS: Final = frozenset({"UNet2DConditionModel", "SD3Transformer2DModel", "AutoencoderKL"})
_TRANSFORMERS: Final = frozenset({"CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel"})
# Of configs that do not say it.
_USUAL: Final = MappingProxyType({"clip_text_model": "CLIPTextModel", "t5": "T5EncoderModel"})
_NAMES: Final = (
    "text_encoder",
    "text_encoder_2",
    "text_encoder_3",
    "unet",
    "transformer",
    "vae",
)
# Of a prompt's chunk, and what stands for T5's part behind it.
_TOKENS, _T5_TOKENS = 77, 256
_NUMBERS = 6  # that SDXL is told about a picture


def weightless(folder: Path, skipped: Collection[str] = ()) -> dict[str, torch.nn.Module]:
    """The components of a pipeline folder, or of one that has their configs alone, in fp32 on the
    device ``meta``.

    Raises:
        LoadError: there are no configs, or one is of another kind of component.
    """
    names = [name for name in _NAMES if (folder / name / "config.json").is_file()]
    if not {"unet", "transformer"}.intersection(names):
        raise LoadError(f"{folder} has no config of a denoiser (unet or transformer).")
    return {name: _weightless(folder / name) for name in names if name not in skipped}


def _weightless(folder: Path) -> torch.nn.Module:
    config = read_json(folder / "config.json")
    name = config.get("_class_name") or next(
        iter(config.get("architectures") or ()), _USUAL.get(config.get("model_type", ""))
    )
    with torch.device("meta"):
        if name in _DIFFUSERS:
            module: torch.nn.Module = getattr(diffusers, name).from_config(config)
        elif name in _TRANSFORMERS:
            kind = getattr(transformers, name)
            module = kind(kind.config_class(**config))
        else:
            raise LoadError(f"{folder} is of the class {name}, which no served model has.")
    return module.eval().requires_grad_(False)


def weightless_bytes(
    components: Mapping[str, torch.nn.Module],
    precision: str,
    upcast: Collection[str],
    quantized: Mapping[str, Scheme],
) -> dict[str, int]:
    """What ``models.footprint.component_bytes`` says of the same components' files.

    Args:
        upcast: the names of those that stay in fp32.
    """
    item = 4 if precision == "fp32" else 2
    sizes = {}
    for component, module in components.items():
        exact = exact_layers(type(module).__name__, precision)
        sizes[component] = sum(
            tensor_bytes(
                name,
                {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [0, 0]},
                4 if component in upcast or not exact.isdisjoint(name.split(".")) else item,
                quantized.get(component),
            )
            for name, tensor in _saved(module).items()
        )
    return sizes


def _saved(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What is in a file of its weights: of tied ones, one."""
    tensors: dict[int, tuple[str, torch.Tensor]] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if tensor.is_floating_point():
            tensors.setdefault(id(tensor), (name, tensor))
    return dict(tensors.values())


def pass_bytes(
    components: Mapping[str, torch.nn.Module], precision: str, size: tuple[int, int], rows: int
) -> int:
    """What a pass of the denoiser takes beside its weights, in bytes.

    Args:
        components: ``weightless`` ones.
        precision: fp32, fp16 or bf16.
        size: width and height of the pictures.
        rows: of the pass.
    """
    denoiser: Any = components.get("unet") or components["transformer"]
    dtype = DTYPES[precision]
    torch.nn.Module.to(denoiser, dtype)
    config, (height, width) = denoiser.config, _latents(components, size)
    made = partial(torch.empty, dtype=dtype)

    def work() -> None:
        latents = made(rows, config.in_channels, height, width)
        times = torch.empty(rows)
        with torch.inference_mode():
            if "transformer" in components:
                text = made(rows, _TOKENS + _T5_TOKENS, config.joint_attention_dim)
                pooled = made(rows, config.pooled_projection_dim)
                denoiser(latents, text, pooled, times, return_dict=False)
                return
            added = None
            if config.addition_embed_type == "text_time":
                told = _NUMBERS * config.addition_time_embed_dim
                projected = config.projection_class_embeddings_input_dim - told
                added = {"text_embeds": made(rows, projected), "time_ids": made(rows, _NUMBERS)}
            text = made(rows, _TOKENS, config.cross_attention_dim)
            denoiser(latents, times, text, added_cond_kwargs=added, return_dict=False)

    return peak_bytes(work, [denoiser])


def decode_bytes(
    components: Mapping[str, torch.nn.Module], precision: str, size: tuple[int, int]
) -> int:
    """What decoding one picture takes beside the VAE's weights, in bytes.

    Args:
        components: ``weightless`` ones.
        precision: of the VAE.
        size: width and height of the picture, which is decoded in one piece.
    """
    vae: Any = components["vae"]
    dtype = DTYPES[precision]
    torch.nn.Module.to(vae, dtype)

    def work() -> None:
        with torch.inference_mode():
            latents = torch.empty(
                1, vae.config.latent_channels, *_latents(components, size), dtype=dtype
            )
            vae.decode(latents, return_dict=False)

    return peak_bytes(work, [vae])


def _latents(components: Mapping[str, torch.nn.Module], size: tuple[int, int]) -> tuple[int, int]:
    """Height and width in latents."""
    vae: Any = components["vae"]
    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    return size[1] // scale, size[0] // scale
