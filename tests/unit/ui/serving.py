"""What a service might serve, for forms."""

from __future__ import annotations

from typing import Any

from ui.served import Limits, Model, Served

LIMITS = Limits(64, 2048, 2_400_000, 150, 8, 4, 2000, 12_582_912, 16_000_000)


def model(name: str, **changes: Any) -> Model:
    """A base of 512 pixels, unless it is said otherwise."""
    common: dict[str, Any] = {
        "kind": "base",
        "is_default": False,
        "family": "sd1",
        "description": "",
        "tasks": ("txt2img", "img2img", "inpaint"),
        "multiple_of": 8,
        "max_pixels": 1_000_000,
        "defaults": {
            "width": 512,
            "height": 512,
            "num_inference_steps": 20,
            "guidance_scale": 7.5,
            "strength": 0.6,
            "scheduler": "euler",
        },
        "fields": frozenset(),
        "refiner": None,
        "base": None,
        "subject_token": None,
        "fine_tuning": None,
        "screening": {},
    }
    return Model(name, **{**common, **changes})


def serving(*models: Model) -> Served:
    """These models; the first is the default."""
    return Served("1", models, 0, LIMITS, ("euler", "ddim"), ("png", "jpeg"))


BASE = model("base")
XL = model("xl", family="xl", fields=frozenset({"refiner", "crop"}), refiner="xl-refiner")
REFINER = model(
    "xl-refiner", family="xl", tasks=("img2img",), fields=frozenset({"aesthetic_score"})
)
CLAY = model("clay", kind="lora", base="base")
WOOL = model("wool", kind="lora", base="base")
SERVED = serving(BASE, XL, REFINER, CLAY, WOOL)
