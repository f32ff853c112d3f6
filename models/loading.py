"""The loader: from files on this machine to a diffusers pipeline, without network and without
foreign code."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Collection, Mapping
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

# Read once, when diffusers is imported: code that comes with a model is never run.
os.environ["DIFFUSERS_DISABLE_REMOTE_CODE"] = "1"

import diffusers
import torch
from diffusers import DiffusionPipeline

from models.catalog import ModelEntry
from models.errors import LoadError, ModelError, UnsafeWeights
from models.identity import is_text_encoder
from models.quantized_layers import quantize
from models.shared_modules import SharedModules
from models.sources import FileSource
from models.weights import (
    EXACT_LAYERS,
    PICKLED,
    SKIPPED_COMPONENTS,
    check_file,
    check_folder,
    components,
    folder_variant,
    read_index,
    upcast_components,
)

logger = logging.getLogger(__name__)

# Libraries that load in another precision make it torch's default for that long, and in the whole
# process: under jobs in progress, tensors made without a dtype would have another one. So weights
# are converted afterwards: to what they would have been, at the price of more host memory for a
# while (4 bytes for each weight, of one component of a folder at a time).
_LOADED = torch.float32


def load_pipeline(
    entry: ModelEntry,
    *,
    location: Path,
    dtype: torch.dtype,
    device: torch.device | str,
    skipped: Collection[str] = (),
    text_dtype: torch.dtype | None = None,
    text_device: torch.device | str | None = None,
    shared: SharedModules | None = None,
) -> DiffusionPipeline:
    """Load a model for inference.

    Args:
        entry: its family chooses the pipeline class; a single-file source also gives the config.
        location: what ``models.store.resolve`` returned: a pipeline folder, or one
            ``.safetensors`` file.
        dtype: of all weights, whatever they are stored in; but a VAE, and layers of T5, that would
            overflow in fp16 stay in fp32.
        device: where the weights end up.
        skipped: components that are not loaded, beside those that its entry leaves out.
        text_dtype: likewise of the text encoders, and ``text_device``; None: as the others.
        shared: text encoders that other models have brought along, and where this one's go.

    Returns:
        The pipeline, with every module in eval mode and without gradients. It has no safety
        checker.

    Raises:
        UnsafeWeights: a pickled checkpoint, a file that only calls itself safetensors, or a
            component from a foreign library.
        LoadError: the files are missing, broken, or of another family.
    """
    skipped = entry.skipped_components.union(skipped)
    try:
        # Asked for once the files have been checked.
        upcast = cache(partial(_upcast, entry, location))

        def place(name: str, component: torch.nn.Module) -> None:
            own_dtype, own_device = dtype, device
            if is_text_encoder(name):
                own_dtype, own_device = text_dtype or dtype, text_device or device
            _convert(component, _LOADED if name in upcast() else own_dtype, own_device)
            component.eval().requires_grad_(False)
            if name in entry.quantized:
                quantize(component, entry.quantized[name])

        if location.is_dir():
            half = dtype == torch.float16
            pipeline = _from_folder(
                entry, location, place, shared or SharedModules(), half=half, skipped=skipped
            )
        else:
            pipeline = _from_file(entry, location, skipped)
            for name, component in pipeline.components.items():
                if isinstance(component, torch.nn.Module):
                    place(name, component)
    except ModelError:
        raise
    except Exception as error:
        # The files come from anywhere, and the libraries raise whatever a bad one trips over.
        raise LoadError(f"{entry.name} cannot be loaded from {location}: {error}") from error
    return pipeline


def _upcast(entry: ModelEntry, location: Path) -> frozenset[str]:
    """The components that stay in fp32; says so, as it decides about memory and speed."""
    upcast = upcast_components(entry.config_folder(location))
    if upcast:
        logger.info("%s: its VAE is in fp32, as it would overflow in fp16", entry.name)
    elif entry.architecture.upcasts_vae:
        logger.info("%s: its VAE is in the model's precision: it has no force_upcast", entry.name)
    return upcast


def _convert(module: torch.nn.Module, dtype: torch.dtype, device: torch.device | str) -> None:
    """Move a module, in this precision but for the layers that would overflow in it."""
    exact: Mapping[str, torch.Tensor] = {}
    if dtype == torch.float16:
        layers = EXACT_LAYERS.get(type(module).__name__, frozenset())
        exact = {
            name: weights.data
            for name, weights in module.named_parameters()
            if not layers.isdisjoint(name.split("."))
        }
    # Not diffusers' own method, which warns of every conversion.
    torch.nn.Module.to(module, device=device, dtype=dtype)
    for name, weights in exact.items():
        module.get_parameter(name).data = weights.to(device)


def _from_folder(
    entry: ModelEntry,
    folder: Path,
    place: Callable[[str, torch.nn.Module], None],
    shared: SharedModules,
    *,
    half: bool,
    skipped: Collection[str],
) -> DiffusionPipeline:
    """Load a pipeline component by component, each of which is placed before the next one."""
    pipeline_class = _pipeline_class(entry)
    index = read_index(folder)
    _check_family(entry, folder, index.get("_class_name"))
    names = [name for name in components(index) if name not in skipped]
    check_folder(folder, names)
    half = folder_variant(folder, names, half=half) == "fp16"
    loaded: dict[str, torch.nn.Module] = {}
    for name in names:
        library, class_name = index[name]
        # Of one of two libraries, and read by the library's own name for it: no foreign code.
        component_class = getattr(import_module(library), class_name)
        if not issubclass(component_class, torch.nn.Module):
            continue
        if (found := shared.find(entry.name, name)) is not None:
            logger.info("%s: its %s is in memory already", entry.name, name)
            loaded[name] = found
            continue
        variant = folder_variant(folder, [name], half=half)
        loaded[name] = component_class.from_pretrained(
            str(folder / name),
            dtype=_LOADED,
            variant="fp16" if variant == "fp16" else None,
            use_safetensors=True,
            local_files_only=True,
        )
        place(name, loaded[name])
        shared.keep(entry.name, name, loaded[name])
    pipeline: DiffusionPipeline = pipeline_class.from_pretrained(
        str(folder),
        local_files_only=True,
        **loaded,
        **_absent(skipped, pipeline_class, index),
    )
    return pipeline


def _from_file(entry: ModelEntry, file: Path, skipped: Collection[str]) -> DiffusionPipeline:
    check_file(file)
    if not isinstance(entry.source, FileSource):
        raise LoadError(f"{entry.name}: {file} is a single file, and its entry names no config.")
    config = entry.source.config
    index = read_index(config)
    _check_family(entry, config, index.get("_class_name"))
    # Where the checkpoint lacks a component, diffusers takes its weights from the config folder,
    # in any format.
    for name in components(index):
        for path in sorted((config / name).glob("*")):
            if path.suffix in PICKLED:
                raise UnsafeWeights(f"{path} is a pickled checkpoint, in a folder for configs.")
    pipeline_class = _pipeline_class(entry)
    pipeline: DiffusionPipeline = pipeline_class.from_single_file(
        str(file),
        config=str(config),
        dtype=_LOADED,
        local_files_only=True,
        **_absent(skipped, pipeline_class, index),
    )
    return pipeline


def _pipeline_class(entry: ModelEntry) -> type[DiffusionPipeline]:
    pipeline_class: type[DiffusionPipeline] = getattr(
        diffusers, entry.architecture.pipeline(entry.tasks)
    )
    return pipeline_class


def _check_family(entry: ModelEntry, folder: Path, found: object) -> None:
    if found not in entry.architecture.pipelines:
        raise LoadError(
            f"{entry.name} is in the catalog as {entry.family}, but {folder} holds a {found}."
        )


def _absent(
    skipped: Collection[str], pipeline_class: type[DiffusionPipeline], index: Mapping[str, Any]
) -> dict[str, None]:
    """``component=None`` for what is not needed, and for what a model is published without."""
    parameters = inspect.signature(pipeline_class.__init__).parameters
    return {
        name: None
        for name in parameters
        if name in SKIPPED_COMPONENTS.union(skipped) or index.get(name) == [None, None]
    }
