"""The workloads: endless, reproducible sequences of requests."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import PIL.Image

from contract.request import GenerationRequest

BLOCK = 60  # requests; every block of the mixed workload has the same mix
STRENGTH = 0.6
SWITCH_AT = 0.8  # where a refiner takes over
SINGLE = ("embedded",)
SEVERAL = ("embedded", "embedded-xl", "embedded-xl-refiner", "embedded-3")
# Of the usual latency: half of it on average. Not exactly, as the clients of a server that works
# in batches would all leave between two of them.
HALF_WAY = (0.25, 0.75)
SUBJECTS = ("red apple", "banana", "cat", "guitar", "red car", "anchor", "balloon", "castle")
GROUNDS = ("blue", "white", "green", "black", "yellow", "purple", "orange")


@dataclass(frozen=True, slots=True)
class Request:
    """What one client asks for.

    Attributes:
        number: its place in the sequence, from 0.
        side: width and height in pixels.
        strength: with it, img2img; without, txt2img.
        model: by its name in the catalog.
        switch_at: with it, the model's refiner finishes the picture from this share of the noise
            schedule on.
        leaves_at: when the client goes away, as a share of the time that its picture usually
            takes; None if it stays.
    """

    number: int
    prompt: str
    steps: int
    guidance: float
    side: int
    scheduler: str
    seed: int
    strength: float | None = None
    model: str = SINGLE[0]
    switch_at: float | None = None
    leaves_at: float | None = None

    @property
    def kind(self) -> str:
        """The class that latencies are reported by."""
        size = f"{self.steps} steps, {self.side} px"
        return size if self.model in SINGLE else f"{size}, {self.model}"

    @property
    def rows(self) -> int:
        """Rows that it has in a denoiser pass: two with guidance."""
        return 2 if self.guidance > 1 else 1

    @property
    def evaluations(self) -> int:
        """Denoiser passes that its picture takes.

        All schedulers of the workloads evaluate once a step; img2img runs
        ``int(steps * strength)`` of them; a refiner takes over some of these.
        """
        return self.steps if self.strength is None else int(self.steps * self.strength)

    @property
    def row_steps(self) -> int:
        """Denoiser rows that its picture takes: evaluations, twice with guidance."""
        return self.evaluations * self.rows

    def body(self) -> dict[str, Any]:
        """The JSON that is sent."""
        fields: dict[str, Any] = {
            "prompt": self.prompt,
            "model": self.model,
            "width": self.side,
            "height": self.side,
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidance,
            "scheduler": self.scheduler,
            "seed": self.seed,
        }
        if self.strength is not None:
            fields["strength"] = self.strength
        if self.switch_at is not None:
            fields["refiner"] = {"switch_at": self.switch_at}
        return fields

    def generation_request(self) -> GenerationRequest:
        """What the engine is asked for, without a refiner."""
        image = None
        if self.strength is not None:
            image = PIL.Image.open(BytesIO(self.picture())).tobytes()
        return GenerationRequest(
            request_id=f"bench-{self.number}",
            model=self.model,
            prompt=self.prompt,
            width=self.side,
            height=self.side,
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            scheduler=self.scheduler,
            seed=self.seed,
            strength=self.strength,
            init_image=image,
        )

    def picture(self) -> bytes:
        """The PNG that an img2img request starts from: a square on a ground, by the seed."""
        shade = random.Random(self.seed)  # noqa: S311
        colour, ground = (tuple(shade.choices(range(256), k=3)) for _ in range(2))
        picture = PIL.Image.new("RGB", (self.side, self.side), ground)
        picture.paste(colour, (self.side // 4, self.side // 4, self.side // 2, self.side // 2))
        file = BytesIO()
        picture.save(file, format="PNG")
        return file.getvalue()


@dataclass(frozen=True, slots=True)
class Workload:
    """A sequence of requests, and how it arrives.

    Attributes:
        sequence: the fields of the requests, from a seed and the share of clients who leave.
        load: arrivals as a multiple of the contestant's measured capacity (open loop, Poisson);
            None for the closed loop: every client waits for its response, then sends the next.
        leavers: share of the clients that leave half-way.
        models: that a contestant serves meanwhile.
    """

    name: str
    title: str
    sequence: Callable[[random.Random, float], Iterator[dict[str, Any]]]
    load: float | None = None
    leavers: float = 0.0
    models: tuple[str, ...] = SINGLE

    def requests(self, seed: int) -> Iterator[Request]:
        """The endless sequence; equal seeds give equal sequences."""
        dice = random.Random(seed)  # noqa: S311
        for number, fields in enumerate(self.sequence(dice, self.leavers)):
            yield Request(
                number=number,
                prompt=f"a {dice.choice(SUBJECTS)} on a {dice.choice(GROUNDS)} background",
                seed=dice.randrange(2**32),
                **fields,
            )


def _uniform(dice: random.Random, leavers: float) -> Iterator[dict[str, Any]]:
    while True:
        yield {"steps": 20, "guidance": 7.5, "side": 64, "scheduler": "ddim"}


def _brief(dice: random.Random, leavers: float) -> Iterator[dict[str, Any]]:
    """Two steps of everything, as many from text as from pictures."""
    for guidance, side, strength in itertools.cycle(
        itertools.product((1.0, 7.5), (64, 96), (None, STRENGTH))
    ):
        yield {
            "steps": 2,
            "guidance": guidance,
            "side": side,
            "scheduler": "ddim",
            "strength": strength,
        }


def _mixed(dice: random.Random, leavers: float) -> Iterator[dict[str, Any]]:
    """Blocks in which every combination of steps, guidance and size comes equally often.

    So contestants of different speed, which get through different numbers of requests, do the
    same work per request. Schedulers, tasks and leavers are dealt out within the block at random,
    in exact numbers too.
    """
    combinations = list(itertools.product((10, 20, 50), (1.0, 7.5), (64, 96)))
    gone = round(leavers * 10)
    while True:
        shapes = _shuffled(dice, combinations)
        schedulers = _shuffled(dice, ["ddim", "euler", "dpmpp_2m"])
        strengths = _shuffled(dice, [STRENGTH] * 3 + [None] * 7)
        leaves = _shuffled(dice, [True] * gone + [False] * (10 - gone))
        for shape, scheduler, strength, leaving in zip(
            shapes, schedulers, strengths, leaves, strict=True
        ):
            steps, guidance, side = shape
            yield {
                "steps": steps,
                "guidance": guidance,
                "side": side,
                "scheduler": scheduler,
                "strength": strength,
                "leaves_at": dice.uniform(*HALF_WAY) if leaving else None,
            }


def _several(dice: random.Random, leavers: float) -> Iterator[dict[str, Any]]:
    """Pictures as in ``_mixed``, 40 % of them of the first model, 30 % of SDXL's, half of these
    with its refiner, and 30 % of Stable Diffusion 3's."""
    small, large, _, flow = SEVERAL
    models = [(small, None)] * 24 + [(large, None), (large, SWITCH_AT)] * 9 + [(flow, None)] * 18
    pictures = _mixed(dice, leavers)
    while True:
        for model, switch_at in _shuffled(dice, models):
            fields = {**next(pictures), "model": model, "switch_at": switch_at}
            yield {**fields, "scheduler": "euler"} if model == flow else fields


def _brief_several(dice: random.Random, leavers: float) -> Iterator[dict[str, Any]]:
    for number, fields in enumerate(_brief(dice, leavers)):
        model = (SEVERAL[0], SEVERAL[1], SEVERAL[3])[number // 8 % 3]
        # Of five steps, so that the refiner gets one.
        switch_at = SWITCH_AT if model == SEVERAL[1] else None
        yield {
            **fields,
            "model": model,
            "scheduler": "euler",
            "steps": 5,
            "switch_at": switch_at,
        }


def _shuffled(dice: random.Random, values: list[Any]) -> list[Any]:
    block = values * (BLOCK // len(values))
    dice.shuffle(block)
    return block


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("uniform", "20 steps, 64 px, guidance 7.5, DDIM", _uniform),
        Workload("mixed", "10/20/50 steps, guidance 1 or 7.5, 64 or 96 px, 30 % img2img", _mixed),
        Workload("mixed_poisson", "mixed, open loop at 70 % of the capacity", _mixed, load=0.7),
        Workload("impatient", "mixed, 20 % of the clients leave half-way", _mixed, leavers=0.2),
        Workload("overload", "mixed, open loop at 3 times the capacity", _mixed, load=3.0),
        Workload(
            "several",
            "mixed, over three families: 40 % Stable Diffusion 1, 30 % SDXL, half of it with its "
            "refiner, 30 % Stable Diffusion 3",
            _several,
            models=SEVERAL,
        ),
    )
}
# What is asked for before a round, by the models that are served: short pictures first, then these.
TYPICAL = {SINGLE: "mixed", SEVERAL: "several"}
WARM_UPS = {
    workload.models: workload
    for workload in (
        Workload("warm_up", "2 steps of everything", _brief),
        Workload("warm_up_several", "5 steps of everything", _brief_several, models=SEVERAL),
    )
}
