"""What a file or folder of models is, by what is in it; names say nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.architectures import ARCHITECTURES, Architecture
from models.catalog import Task
from models.errors import LoadError, ModelError, UnsafeWeights
from models.lora import check_lora
from models.weights import (
    PICKLED,
    check_folder,
    components,
    has_weights,
    read_config,
    read_header,
    read_index,
)

_INDEX: Final = "model_index.json"
# In the original layout of Stable Diffusion, and of SD 3.
_CHECKPOINT: Final = ("model.diffusion_model.",)
# A UNet that is given a masked picture and its mask beside the latents.
_INPAINTING_CHANNELS: Final = 9
_ALL: Final[tuple[Task, ...]] = ("txt2img", "img2img", "inpaint")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline folder, as diffusers writes it.

    Attributes:
        folder: where it is.
        architecture: its family's.
        tasks: what it can do.
        side: width and height that it was trained for, in pixels; None where it does not say.
        complete: whether its weights are there; those of a checkpoint's config are not.
    """

    folder: Path
    architecture: Architecture
    tasks: tuple[Task, ...]
    side: int | None
    complete: bool


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file with the weights of a whole pipeline, without configs and tokenizers."""

    file: Path


@dataclass(frozen=True, slots=True)
class Lora:
    """A LoRA, of diffusers, peft or kohya."""

    file: Path


Recognised = Pipeline | Checkpoint | Lora


def recognise(path: Path) -> Recognised | None:
    """What a file or folder is; None for what is no model, such as a readme.

    Raises:
        UnsafeWeights: a pickled checkpoint, or a file that only calls itself safetensors.
        LoadError: a model that cannot be served; says why.
    """
    if path.is_dir():
        return _folder(path)
    if path.suffix in PICKLED:
        raise UnsafeWeights(
            f"{path.name} is a pickled checkpoint, which is refused because loading one can run "
            "any code; convert it to safetensors."
        )
    return _file(path) if path.suffix == ".safetensors" else None


def _folder(folder: Path) -> Recognised | None:
    if (folder / _INDEX).is_file():
        return _pipeline(folder)
    # A LoRA in a folder of its own, as diffusers saves it.
    files = [one for one in sorted(folder.iterdir()) if one.is_file()]
    found = [one for file in files if (one := recognise(file)) is not None]
    if len(found) > 1:
        raise LoadError(
            f"the folder {folder.name} has {len(found)} files with weights; one was expected, or "
            "a diffusers pipeline."
        )
    return found[0] if found else None


def _file(file: Path) -> Recognised:
    try:
        check_lora(file)
    except UnsafeWeights:
        raise
    except ModelError as error:
        if any(key.startswith(_CHECKPOINT) for key in read_header(file)):
            return Checkpoint(file)
        raise LoadError(
            f"{file.name} is neither a checkpoint of Stable Diffusion nor a LoRA: {error}"
        ) from None
    return Lora(file)


def _pipeline(folder: Path) -> Pipeline:
    index = read_index(folder)
    name = index.get("_class_name")
    architecture = next((one for one in ARCHITECTURES.values() if name in one.pipelines), None)
    if architecture is None:
        known = ", ".join(one.pipelines[0] for one in ARCHITECTURES.values())
        raise LoadError(
            f"the folder {folder.name} holds a {name!a}, which is not served; pipelines that are: "
            f"{known}."
        )
    names = components(index)
    check_folder(folder, names)
    denoiser = "unet" if "unet" in names else "transformer"
    config = read_config(folder, denoiser)
    architecture = _of_the_text(architecture, config)
    sample = config.get("sample_size")
    side = sample * architecture.vae_scale if isinstance(sample, int) else None
    return Pipeline(
        folder=folder,
        architecture=architecture,
        tasks=_tasks(architecture, index, config),
        side=side if side is not None and 64 <= side <= 2048 and side % 8 == 0 else None,
        complete=has_weights(folder, denoiser),
    )


def _of_the_text(architecture: Architecture, config: dict[str, object]) -> Architecture:
    """SD 1 and SD 2 have one class, and text of different widths."""
    if config.get("cross_attention_dim") == 1024 and architecture.name == "sd1":
        return ARCHITECTURES["sd2"]
    return architecture


def _tasks(
    architecture: Architecture, index: dict[str, object], config: dict[str, object]
) -> tuple[Task, ...]:
    if config.get("in_channels") == _INPAINTING_CHANNELS:
        return ("inpaint",)
    # The refiner has the second text encoder alone.
    if architecture.refiner and index.get("text_encoder") in (None, [None, None]):
        return ("img2img",)
    return _ALL
