"""The screening checks, and what is done with a picture in which one finds something.

Light, as the catalog and the settings are: the checks themselves are in ``engine``.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import BeforeValidator

CheckName: TypeAlias = Literal["grayscale", "blank", "nsfw"]
CHECKS: tuple[CheckName, ...] = get_args(CheckName)

# YAML 1.1, which PyYAML reads, takes a bare off for false.
Action = Annotated[
    Literal["off", "flag", "blur", "reject"],
    BeforeValidator(lambda value: "off" if value is False else value),
]

# What NudeNet 3.4 tells apart, in the order of its outputs.
NudityLabel: TypeAlias = Literal[
    "FEMALE_GENITALIA_COVERED",
    "FACE_FEMALE",
    "BUTTOCKS_EXPOSED",
    "FEMALE_BREAST_EXPOSED",
    "FEMALE_GENITALIA_EXPOSED",
    "MALE_BREAST_EXPOSED",
    "ANUS_EXPOSED",
    "FEET_EXPOSED",
    "BELLY_COVERED",
    "FEET_COVERED",
    "ARMPITS_COVERED",
    "ARMPITS_EXPOSED",
    "FACE_MALE",
    "BELLY_EXPOSED",
    "MALE_GENITALIA_EXPOSED",
    "ANUS_COVERED",
    "FEMALE_BREAST_COVERED",
    "BUTTOCKS_COVERED",
]
NUDITY_LABELS: tuple[NudityLabel, ...] = get_args(NudityLabel)
