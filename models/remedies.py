"""The settings that would make a model fit into a memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from models.budget import model_bytes
from models.catalog import ModelEntry
from models.identity import is_text_encoder
from models.placement import Placement, obstacle
from models.store import readable


def remedies(entry: ModelEntry, placement: Placement, room: int) -> str:
    """A sentence that names them, each with what the weights take then.

    Args:
        entry: a model whose weights do not fit.
        placement: where it is to run, and in which precision.
        room: bytes that its weights may take.
    """
    found = [
        f"{setting} ({readable(size)})"
        for setting, size in _alternatives(entry, placement)
        if size <= room
    ]
    if not found:
        return "No setting of precision, text encoders or quantisation makes it fit."
    return f"It would fit with {' or '.join(found)}."


def _alternatives(entry: ModelEntry, placement: Placement) -> Iterator[tuple[str, int]]:
    """Each setting that changes what a model takes, and then the smallest that there is."""
    settings, smallest, there = [], entry, placement

    def size(model: ModelEntry, place: Placement) -> int:
        # Of the files that are here, whatever the precision.
        sizes = model_bytes(model, place.precision, stored=placement.precision)
        return sum(
            each
            for name, each in sizes.items()
            if not (is_text_encoder(name) and place.text_device != place.device)
        )

    if placement.precision == "fp32":
        for precision in ("fp16", "bf16"):
            if obstacle(placement.device, precision) is None:
                there = replace(placement, precision=precision)
                settings.append(f"SD_PRECISION={precision}")
                yield settings[-1], size(entry, there)
                break
    if entry.has_t5:
        required = sorted(entry.architecture.required_text_encoders)
        settings.append(f"SD_TEXT_ENCODERS={','.join(required)}")
        smallest = entry.with_text_encoders(tuple(required))
        yield settings[-1], size(smallest, placement)
    if placement.device != "cpu" and placement.text_device == placement.device:
        yield "SD_TEXT_ENCODER_DEVICE=cpu", size(entry, replace(placement, text_encoders="cpu"))
    if entry.quantize is None:
        for scheme in ("int8", "nf4"):
            quantized = entry.with_quantization({"denoiser": scheme, "t5": scheme})
            yield f"SD_QUANTIZE={scheme}", size(quantized, placement)
        settings.append("SD_QUANTIZE=nf4")
        smallest = smallest.with_quantization({"denoiser": "nf4", "t5": "nf4"})
    if len(settings) > 1:
        yield " ".join(settings), size(smallest, there)
