"""The loading of LoRA files as adapters, without touching the model that they are for.

diffusers knows the formats: its own, peft's, and that of kohya's trainer, in which most files found
elsewhere are. peft says what it would make of them: it is given a model without weights, and the
factors are read off. Two things are not left to them. What does not fit is refused, where they
warn, or leave it out. And a file of kohya's has an alpha for each layer, of which diffusers 0.42
loses some where they differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from statistics import mode
from typing import Any

import torch
from diffusers.utils import (
    convert_state_dict_to_diffusers,
    convert_state_dict_to_peft,
    convert_unet_state_dict_to_peft,
)
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Conv2d, Linear, LoraLayer

from engine.lora.adapter import Adapter, LowRank
from engine.lora.formats import read_file
from models.errors import LoadError
from models.lora import check_lora

# What the description in a file may set; all else has to be as peft has it by default.
_KNOWN_SETTINGS = frozenset(
    {
        "r",
        "lora_alpha",
        "rank_pattern",
        "alpha_pattern",
        "use_rslora",
        # Which layers there are, is seen from the weights.
        "target_modules",
        "exclude_modules",
        # Matters of training.
        "lora_dropout",
        "init_lora_weights",
        "inference_mode",
        "task_type",
        "base_model_name_or_path",
        "revision",
        "peft_version",
        "auto_mapping",
    }
)
_NAME = "default"  # peft's name for an adapter that has none
_NAMED_WEIGHT = re.compile(rf"\.{_NAME}\.weight$")
_SHOWN = 3


def load_adapter(file: Path, modules: Mapping[str, Any]) -> Adapter:
    """Read a LoRA. Safe while passes run: of the model, only the configs are looked at.

    Args:
        file: safetensors, in the format of diffusers, peft or kohya.
        modules: the components that it may change, by their names in the pipeline: of diffusers or
            of transformers. Its weights end up where those are, and in their precision.

    Raises:
        UnsafeWeights: not a safetensors file.
        LoadError: not a LoRA, or one for another architecture, or by another method.
    """
    check_lora(file)
    try:
        state, alphas, metadata = read_file(file, modules)
        # The names of peft's parameters have the adapter's name in them; those of its files do not.
        state = {_NAMED_WEIGHT.sub(".weight", key): weight for key, weight in state.items()}
        foreign = [key for key in state if key.split(".")[0] not in modules]
        if foreign:
            raise LoadError(
                f"it has weights for other components than {', '.join(modules)}: {_some(foreign)}."
            )
        parts = {
            name: _read(
                module,
                _converted(name, module, _below(name, state)),
                _converted(name, module, _alphas_by_key(name, state, alphas)),
                _below(name, metadata),
            )
            for name, module in modules.items()
        }
    except LoadError as error:
        raise LoadError(f"{file.name} cannot be used as a LoRA: {error}") from error
    except Exception as error:
        # The file comes from anywhere, and the libraries raise whatever a bad one trips over.
        raise LoadError(f"{file.name} cannot be read as a LoRA: {error}") from error
    adapter = Adapter(
        {
            name: {
                path: _placed(layer, modules[name].device, modules[name].dtype)
                for path, layer in part.items()
            }
            for name, part in parts.items()
            if part
        }
    )
    for part in adapter.components.values():
        for path, layer in part.items():
            if not (layer.down.isfinite().all() and layer.up.isfinite().all()):
                raise LoadError(
                    f"{file.name} cannot be used as a LoRA: the weights for {path} are not finite."
                )
    return adapter


def _below(name: str, entries: Mapping[str, Any]) -> dict[str, Any]:
    prefix = f"{name}."
    return {
        key.removeprefix(prefix): value for key, value in entries.items() if key.startswith(prefix)
    }


def _alphas_by_key(
    name: str, state: Mapping[str, torch.Tensor], alphas: Mapping[str, float]
) -> dict[str, Any]:
    """The alphas under the keys of the weights that they belong to; diffusers drops the end of
    some."""
    return {
        key: alphas[alpha]
        for key in _below(name, state)
        if (alpha := f"{name}.{key.split('.lora.')[0]}.alpha") in alphas
    }


def _converted(name: str, module: Any, state: Mapping[str, Any]) -> dict[str, Any]:
    """Under peft's keys: ``path.lora_A.weight`` and ``path.lora_B.weight``."""
    if not state:
        return {}
    if name in ("unet", "transformer"):
        peft = any("lora_A" in key for key in state)
        return dict(state if peft else convert_unet_state_dict_to_peft(state))
    converted = convert_state_dict_to_peft(convert_state_dict_to_diffusers(dict(state)))
    if hasattr(module, "text_model"):
        return dict(converted)
    # transformers 5 has one level less than what most files were made with.
    return {key.removeprefix("text_model."): value for key, value in converted.items()}


def _read(
    module: Any,
    state: Mapping[str, torch.Tensor],
    alphas: Mapping[str, float],
    settings: Mapping[str, Any],
) -> dict[str, LowRank]:
    """What peft would make of a module's part of the file."""
    if not state:
        return {}
    skeleton = _skeleton(module)
    with torch.device("meta"):
        inject_adapter_in_model(
            _config(state, alphas, settings), skeleton, adapter_name=_NAME, state_dict=dict(state)
        )
    layers = {
        path: layer for path, layer in skeleton.named_modules() if isinstance(layer, LoraLayer)
    }
    expected = {
        f"{path}.lora_{side}.weight": getattr(layer, f"lora_{side}")[_NAME].weight.shape
        for path, layer in layers.items()
        if isinstance(layer, Linear | Conv2d)
        for side in "AB"
    }
    if unknown := [key for key in state if key not in expected]:
        raise LoadError(f"the model has no such layers: {_some(unknown)}.")
    if missing := [key for key in expected if key not in state]:
        raise LoadError(f"it lacks {_some(missing)}.")
    for key, shape in expected.items():
        if state[key].shape != shape:
            raise LoadError(
                f"it was made for another architecture: {key} is {list(state[key].shape)}, and "
                f"with this model it would be {list(shape)}."
            )
    return {
        path: LowRank(
            state[f"{path}.lora_A.weight"],
            state[f"{path}.lora_B.weight"],
            float(layer.scaling[_NAME]),
        )
        for path, layer in layers.items()
    }


def _skeleton(module: Any) -> Any:
    """A module of the same structure without weights."""
    with torch.device("meta"):
        if hasattr(module, "from_config"):
            return type(module).from_config(module.config)
        # transformers writes into the config that it is given.
        return type(module)(deepcopy(module.config))


def _config(
    state: Mapping[str, torch.Tensor], alphas: Mapping[str, float], settings: Mapping[str, Any]
) -> LoraConfig:
    """As the file describes it, or else as its weights and alphas are."""
    if settings:
        _check_settings(settings)
        return LoraConfig(**{key: settings[key] for key in settings if key in _KNOWN_SETTINGS})
    ranks = {
        key.removesuffix(".lora_A.weight"): weight.shape[0]
        for key, weight in state.items()
        if key.endswith(".lora_A.weight")
    }
    factors = {path: alphas.get(f"{path}.lora_A.weight", rank) for path, rank in ranks.items()}
    usual_rank, usual_alpha = mode(ranks.values()), mode(factors.values())
    described: dict[str, Any] = {
        "r": usual_rank,
        "lora_alpha": usual_alpha,
        # peft takes a pattern that begins so for the whole path.
        "rank_pattern": {
            f"^{re.escape(path)}": rank for path, rank in ranks.items() if rank != usual_rank
        },
        "alpha_pattern": {
            f"^{re.escape(path)}": alpha for path, alpha in factors.items() if alpha != usual_alpha
        },
        "target_modules": list(ranks),
    }
    return LoraConfig(**described)


def _check_settings(settings: Mapping[str, Any]) -> None:
    usual = asdict(LoraConfig())
    for key, value in settings.items():
        if key not in _KNOWN_SETTINGS and value and value != usual.get(key):
            raise LoadError(f"it was made with {key}: {value!r}, which is not supported.")


def _placed(layer: LowRank, device: torch.device, dtype: torch.dtype) -> LowRank:
    return LowRank(layer.down.to(device, dtype), layer.up.to(device, dtype), layer.scaling)


def _some(keys: Iterable[str]) -> str:
    names = sorted(keys)
    return ", ".join(names[:_SHOWN]) + f" and {len(names) - _SHOWN} more" * (len(names) > _SHOWN)
