"""The world of the embedded model: its objects, its background colours, its held-out pairs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

OBJECTS_FILE = Path(__file__).parent / "objects.yaml"

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Subject:
    """One object: its noun as used in captions and the background it is never trained on."""

    name: str
    held_out: str
    drawn: bool
    weight: float = 1.0
    """How often the UNet sees it, relative to the others."""


@dataclass(frozen=True, slots=True)
class World:
    """Colours by name (RGB, 0..255) and subjects in the order of the judge's labels."""

    colours: dict[str, Colour]
    subjects: tuple[Subject, ...]

    @property
    def drawn(self) -> tuple[Subject, ...]:
        """The subjects the diffusion model is trained on."""
        return tuple(subject for subject in self.subjects if subject.drawn)

    def backgrounds(self, subject: Subject) -> tuple[str, ...]:
        """The colours that a subject may be composed on in training."""
        return tuple(name for name in self.colours if name != subject.held_out)


def load_world(path: Path = OBJECTS_FILE) -> World:
    """Read and check the objects file."""
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    colours = {name: (int(r), int(g), int(b)) for name, (r, g, b) in data["colours"].items()}
    subjects = tuple(
        Subject(
            name=entry["name"],
            held_out=entry["held_out"],
            drawn=group == "drawn",
            weight=float(entry.get("weight", 1.0)),
        )
        for group in ("drawn", "distractors")
        for entry in data[group]
    )
    names = [subject.name for subject in subjects]
    if len(set(names)) != len(names):
        raise ValueError(f"{path}: an object is listed twice")
    for subject in subjects:
        if subject.held_out not in colours:
            raise ValueError(f"{path}: {subject.name}: unknown colour {subject.held_out!r}")
    return World(colours=colours, subjects=subjects)
