"""Models of every family, as the API knows them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from api.backend import ServedModel
from models.architectures import ARCHITECTURES, Family
from tests.unit.api.conftest import TINY


def served(name: str, family: Family, *tasks: Any, **changes: Any) -> ServedModel:
    architecture = ARCHITECTURES[family]
    return replace(
        TINY,
        name=name,
        family=family,
        tasks=tasks,
        fields=architecture.fields(tasks),
        multiple_of=architecture.multiple_of,
        schedulers=architecture.schedulers,
        is_refiner=architecture.is_refiner(tasks),
        **changes,
    )


SD1 = served("sd", "sd1", "txt2img", "img2img", "inpaint")
XL = served("xl", "sdxl", "txt2img", "img2img", "inpaint", refiner="xl-refiner")
XL_TUNED = served("xl-tuned", "sdxl", "txt2img", "img2img", "inpaint")
XL_INPAINTER = served("xl-inpainter", "sdxl", "inpaint")
SD3 = served(
    "sd3",
    "sd3",
    "txt2img",
    "img2img",
    "inpaint",
    defaults=TINY.defaults.model_copy(update={"skip_layers": (7, 8, 9), "scheduler": "euler"}),
)
REFINER = served("xl-refiner", "sdxl", "img2img")
REFINER_2 = served("xl-refiner-2", "sdxl", "img2img")
