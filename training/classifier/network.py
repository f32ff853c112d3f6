"""The ViT and its image processor: new, to go on from, and written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import ViTConfig, ViTForImageClassification
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from models.vit import read_vit

SIDE = 64
ARCHITECTURE: dict[str, Any] = {
    "image_size": SIDE,
    "patch_size": 8,
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 512,
}
"""Small enough to learn the embedded composites on one core in less than an hour."""


def new_network(labels: tuple[str, ...]) -> ViTForImageClassification:
    """An untrained ViT for 64 x 64 pictures."""
    return ViTForImageClassification(ViTConfig(**ARCHITECTURE, **_naming(labels)))


def new_processor() -> ViTImageProcessorPil:
    """Pictures of any size squeezed to 64 x 64, values from -1 to 1."""
    return ViTImageProcessorPil(size={"height": SIDE, "width": SIDE})


def load_network(folder: Path, labels: tuple[str, ...]) -> ViTForImageClassification:
    """A trained ViT, with a new last layer where it knows other labels.

    Raises ``models.errors.ModelError`` where the folder has no such network in safetensors.
    """
    read_vit(folder)
    return ViTForImageClassification.from_pretrained(
        folder,
        **_naming(labels),
        ignore_mismatched_sizes=True,
        use_safetensors=True,
        local_files_only=True,
        dtype=torch.float32,
    )


def load_checkpoint(folder: Path) -> ViTForImageClassification:
    """The network of a checkpoint."""
    return ViTForImageClassification.from_pretrained(
        folder, use_safetensors=True, local_files_only=True, dtype=torch.float32
    )


def load_processor(folder: Path) -> ViTImageProcessorPil:
    """The image processor that a ViT was trained with."""
    return ViTImageProcessorPil.from_pretrained(folder, local_files_only=True)


def save(network: ViTForImageClassification, processor: ViTImageProcessorPil, folder: Path) -> None:
    """Write both as transformers does, the weights in half precision."""
    half = ViTForImageClassification(network.config)
    half.load_state_dict(network.state_dict())
    half.half().save_pretrained(folder)
    processor.save_pretrained(folder)


def side(processor: ViTImageProcessorPil) -> tuple[int, int]:
    """Width and height of the pictures that the network takes, in pixels."""
    return int(processor.size["width"]), int(processor.size["height"])


def _naming(labels: tuple[str, ...]) -> dict[str, Any]:
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {name: number for number, name in enumerate(labels)},
    }
