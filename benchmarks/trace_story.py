"""The story of a trace: requests that arrive when a certain pass is done, and what became of them.

The engine is the real one over the embedded model. No request arrives at a certain time, so that
the story does not depend on the machine.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from contract.errors import ErrorCode
from contract.events import Event, Failed, ends
from contract.observer import NullObserver, Pass
from contract.request import GenerationRequest
from engine.engine import Engine
from engine.limits import BatchLimits
from engine.pipelines.load import load_model
from engine.submission import Submission
from engine.weights.cache import WeightCache
from models.catalog import load_catalog
from models.placement import place

ROWS = 8  # of a pass at most: few, so that one can count them

# Okabe & Ito's palette, which colour-blind readers can tell apart, without its black and with its
# yellow darkened; then two that go with it.
COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#C9B400",
    "#D55E00",
    "#7A68A6",
    "#8C6D46",
)


@dataclass(frozen=True, slots=True)
class Scene:
    """One request of the story.

    Attributes:
        name: what the drawing calls it.
        says: what is special about it.
        arrives: passes made by then.
        request: what it asks for.
        leaves: passes made when it is cancelled, if it is.
        remark: what to write beside its rows.
    """

    name: str
    says: str
    arrives: int
    request: GenerationRequest
    leaves: int | None = None
    remark: str = ""


@dataclass(slots=True)
class Life:
    """What became of a job: the passes it was in with how many rows, counted from 0."""

    scene: Scene
    name: str
    colour: str
    passes: dict[int, int] = field(default_factory=dict)


def story() -> list[Scene]:
    """A long job and what comes along while it runs."""
    picture = bytes(range(64)) * (64 * 3)
    basic = GenerationRequest(
        request_id="",
        model="embedded",
        prompt="a red apple on a blue background",
        width=64,
        height=64,
        num_inference_steps=10,
        guidance_scale=5.0,
        scheduler="dpmpp_2m",
        seed=1,
    )

    def scene(name: str, says: str, arrives: int, **changes: Any) -> Scene:
        asked = {key: changes.pop(key) for key in ("leaves", "remark") if key in changes}
        return Scene(name, says, arrives, replace(basic, request_id=name, **changes), **asked)

    return [
        scene("A", "50 steps", 0, num_inference_steps=50, scheduler="ddim"),
        scene("B", "10 steps", 4, remark="joins at the next pass, leaves when it is done"),
        scene(
            "C",
            "16 steps, guidance 1",
            8,
            num_inference_steps=16,
            guidance_scale=1.0,
            scheduler="euler_a",
            remark="one row: no negative prompt",
        ),
        scene(
            "D",
            "img2img, 12 of 20 steps",
            12,
            num_inference_steps=20,
            strength=0.6,
            init_image=picture,
            remark="like any other row",
        ),
        scene(
            "E",
            "two pictures of 14 steps",
            22,
            num_inference_steps=14,
            num_images=2,
            scheduler="unipc",
            remark="each picture is a job; a full pass makes jobs take turns",
        ),
        scene(
            "F",
            "40 steps, cancelled",
            26,
            num_inference_steps=40,
            leaves=40,
            remark="cancelled: its rows are free at the next pass",
        ),
        scene(
            "G",
            "10 steps, another size",
            42,
            width=96,
            remark="passes of its own, in turn with the others'",
        ),
        scene("H", "10 steps", 47, scheduler="euler"),
    ]


class Narrator(NullObserver):
    """Submits and cancels as the story has it, and notes what the engine does.

    Args:
        scenes: the story; the first arrives at once.
    """

    _engine: Engine

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self.passes: list[Pass] = []
        self.over = threading.Event()
        self.failure: Failed | None = None
        self._coming = sorted(scenes, key=lambda scene: scene.arrives)
        self._leaving = [scene for scene in scenes if scene.leaves is not None]
        self._submissions: dict[str, Submission] = {}
        self._unfinished = len(scenes)

    def begin(self, engine: Engine) -> None:
        self._engine = engine
        self._turn_page()

    def denoised(self, done: Pass) -> None:
        self.passes.append(done)
        self._turn_page()

    def _turn_page(self) -> None:
        while self._coming and self._coming[0].arrives <= len(self.passes):
            scene = self._coming.pop(0)
            self._submissions[scene.name] = self._engine.submit(scene.request, self._hear)
        for scene in self._leaving:
            if scene.leaves == len(self.passes):
                self._submissions[scene.name].cancel()

    def _hear(self, event: Event) -> None:
        if not ends(event):
            return
        if isinstance(event, Failed) and event.code is not ErrorCode.CANCELLED:
            self.failure = event
        self._unfinished -= 1
        if self.failure or not self._unfinished:
            self.over.set()


def run(scenes: Sequence[Scene]) -> list[Pass]:
    """Let the engine play the story; its passes in order."""
    placement = place("cpu", "fp32")
    family = load_model(load_catalog(None).get("embedded"), placement)
    narrator = Narrator(scenes)
    engine = Engine(
        WeightCache.preloaded({"embedded": family}),
        limits=BatchLimits(rows=ROWS),
        observer=narrator,
    )
    try:
        narrator.begin(engine)
        if not narrator.over.wait(300):
            raise RuntimeError(f"no end after {len(narrator.passes)} passes")
        if narrator.failure:
            raise narrator.failure.to_error()
    finally:
        engine.close()
    return narrator.passes


def lives(scenes: Sequence[Scene], passes: Sequence[Pass]) -> list[Life]:
    """The lanes of the drawing, from top to bottom."""
    lanes: dict[str, Life] = {}
    for scene in scenes:
        count = scene.request.num_images
        for index in range(count):
            name = f"{scene.name}{index + 1}" if count > 1 else scene.name
            colour = COLOURS[len(lanes)]
            told = scene if index == count - 1 else replace(scene, remark="")
            lanes[f"{scene.request.request_id}#{index}"] = Life(told, name, colour)
    for number, done in enumerate(passes):
        for job, rows in zip(done.jobs, done.job_rows, strict=True):
            lanes[job].passes[number] = rows
    return list(lanes.values())
