"""The loading of a model: from a catalog entry to what the engine runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

from engine.pipelines.autoencoder import VAE_PIXELS
from engine.pipelines.base import DiffusionModel
from engine.pipelines.latent_diffusion import LatentDiffusion
from engine.pipelines.parts import Compiler, eager
from engine.pipelines.stable_diffusion import StableDiffusion
from engine.pipelines.stable_diffusion_3 import StableDiffusion3
from engine.pipelines.stable_diffusion_xl import StableDiffusionXL
from engine.weights.memory import release
from models.architectures import Family
from models.catalog import ModelEntry
from models.dtypes import DTYPES
from models.errors import LoadError
from models.loading import load_pipeline
from models.placement import Placement
from models.shared_modules import SharedModules
from models.store import resolve

# The classes for the families of ``models.architectures`` that are served.
MODELS: Final[Mapping[Family, type[StableDiffusion | StableDiffusionXL | StableDiffusion3]]] = (
    MappingProxyType(
        {
            "sd1": StableDiffusion,
            "sd2": StableDiffusion,
            "sdxl": StableDiffusionXL,
            "sd3": StableDiffusion3,
        }
    )
)


def load_model(
    entry: ModelEntry,
    placement: Placement,
    *,
    vae_pixels: int = VAE_PIXELS,
    invariant: bool = False,
    compiler: Compiler = eager,
    shared: SharedModules | None = None,
    mixed_sizes: bool = False,
) -> DiffusionModel:
    """Load a model in the given precision onto the given device.

    Args:
        entry: which model; its ``tasks`` must be among what its denoiser can do.
        placement: device and precision.
        vae_pixels: pixels that the VAE may take at once, see ``StableDiffusion``.
        invariant: see ``StableDiffusion``.
        compiler: see ``unet_denoiser`` and ``mmdit_denoiser``.
        shared: text encoders of other models in memory, see ``load_pipeline``.
        mixed_sizes: let pictures of different sizes share a pass, where the denoiser is an MMDiT.

    Raises:
        models.errors.ModelError: not downloaded, not loadable safely, or not what its entry says.
    """
    pipeline = load_pipeline(
        entry,
        location=resolve(entry, placement.precision),
        dtype=DTYPES[placement.precision],
        device=placement.device,
        text_dtype=DTYPES[placement.text_precision],
        text_device=placement.text_device,
        shared=shared,
    )
    model_class: Callable[..., LatentDiffusion] = MODELS[entry.family]
    if model_class is StableDiffusion3:
        model_class = partial(StableDiffusion3, mixed_sizes=mixed_sizes)
    try:
        model = model_class(pipeline, vae_pixels=vae_pixels, invariant=invariant, compiler=compiler)
    except ValueError as error:
        raise LoadError(f"{entry.name} cannot be served: {error}.") from error
    # What loading and compiling took for a while, and a denoiser that a compiled one has replaced.
    del pipeline
    release()
    impossible = [task for task in entry.tasks if task not in model.tasks]
    if impossible:
        raise LoadError(
            f"{entry.name} is in the catalog with the tasks {', '.join(entry.tasks)}, but its "
            f"denoiser cannot do {', '.join(impossible)}: set its tasks to "
            f"[{', '.join(sorted(model.tasks))}]."
        )
    return model
