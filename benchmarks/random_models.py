"""Models of published shapes with random weights, as speed does not depend on them."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import diffusers
import torch
from transformers import CLIPTokenizer, T5TokenizerFast

from models.architectures import ARCHITECTURES, Architecture
from models.catalog import BUILT_IN

CONFIGS = BUILT_IN.parent / "configs"
_CLIP = BUILT_IN.parent / "embedded" / "tokenizer"
_T5_LETTERS = "\u2581abcdefghijklmnopqrstuvwxyz()0123456789.,:"


def architecture_of(config: Path) -> Architecture:
    """The family of a pipeline's configs."""
    name = _index(config)["_class_name"]
    return next(each for each in ARCHITECTURES.values() if name in each.pipelines)


def random_pipeline(
    config: Path, device: str, dtype: torch.dtype, *, vae_dtype: torch.dtype | None = None
) -> Any:
    """Make a pipeline with the same weights every time, component by component.

    Args:
        config: a folder with ``model_index.json`` and the components' configs.
        vae_dtype: of the VAE, where it is another one.
    """
    torch.manual_seed(0)
    index = _index(config)
    parts: dict[str, Any] = {
        name: value
        for name, value in index.items()
        if not name.startswith("_") and not isinstance(value, list)
    }
    for name, (library, class_name) in _components(index).items():
        if class_name is None:
            parts[name] = None
        elif "Tokenizer" in class_name:
            parts[name] = _tokenizer(class_name)
        elif name == "scheduler":
            kind = getattr(diffusers, class_name)
            parts[name] = kind.from_config(kind.load_config(config / name))
        else:
            kind = getattr(import_module(library), class_name)
            precision = vae_dtype if name == "vae" and vae_dtype is not None else dtype
            parts[name] = _module(kind, config / name, device).to(precision)
    if "text_encoder_2" in parts and "unet" in parts:
        parts["add_watermarker"] = False
    return getattr(diffusers, index["_class_name"])(**parts)


def _module(kind: Any, folder: Path, device: str) -> torch.nn.Module:
    with torch.device(device):
        if hasattr(kind, "load_config"):
            module = kind.from_config(kind.load_config(folder))
        else:
            module = kind(kind.config_class.from_pretrained(folder, **_vocabulary(kind)))
    module.eval().requires_grad_(False)
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"{folder} describes a {type(module).__name__}")
    return module


def _vocabulary(kind: Any) -> dict[str, int]:
    """What a text encoder has to know of the tokenizer that it gets here."""
    tokenizer = _tokenizer("T5" if "T5" in kind.__name__ else "CLIP")
    known = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return {name: value for name, value in known.items() if value is not None}


def _tokenizer(class_name: str) -> Any:
    if class_name.startswith("CLIP"):
        return CLIPTokenizer.from_pretrained(_CLIP, local_files_only=True)
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return T5TokenizerFast(vocab=special + [(letter, -3.0) for letter in _T5_LETTERS], extra_ids=0)


def _index(config: Path) -> dict[str, Any]:
    index: dict[str, Any] = json.loads((config / "model_index.json").read_text(encoding="utf-8"))
    return index


def _components(index: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: value for name, value in index.items() if isinstance(value, list)}
