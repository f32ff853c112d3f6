"""The figures of docs/screening.md: what the checks find in harmless pictures, and what they cost.

``python -m benchmarks.screening`` prints them as Markdown tables. The pictures are the embedded
model's things on plain grounds: as its autoencoder gives them, and as it generates them.
"""

from __future__ import annotations

# ruff: noqa: E402
# Before torch is imported.
from assembly import environment

environment.prepare()

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import replace
from io import BytesIO
from statistics import median
from time import monotonic, process_time

import PIL.Image

from contract.observer import NullObserver
from contract.request import GenerationRequest
from engine.blocking import generate
from engine.cpu.threads import ThreadPlan, ThreadTuner
from engine.cpu.tuned import CpuTuned
from engine.engine import Engine
from engine.pipelines.base import DiffusionModel
from engine.pipelines.load import load_model
from engine.screening.appearance import Blank, Grayscale, colourfulness, contrast
from engine.screening.nudity import Nudity
from engine.screening.screen import Check, Screen
from engine.weights.cache import WeightCache
from models.catalog import load_catalog
from models.placement import Placement
from settings import Settings
from training import machine
from training.embedded.scenes import SIDE, Scene, compose
from training.embedded.world import load_world

GRAY_GROUNDS = ("gray", "white", "black")
GRAYS = (0, 64, 128, 192, 255)
STRIDE = 7  # of the scenes that the model draws: prime to the number of grounds
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
EXAMPLE = GenerationRequest(
    request_id="screening",
    model="embedded",
    prompt="a red apple on a blue background",
    width=SIDE,
    height=SIDE,
    num_inference_steps=20,
    guidance_scale=3.0,
    scheduler="ddim",
    seed=1,
)
WORLD = load_world()

Pictures = dict[str, PIL.Image.Image]


def start(family: DiffusionModel, *checks: Check) -> Engine:
    """An engine of one thread that flags what these checks find."""
    return Engine(
        WeightCache.preloaded({"embedded": CpuTuned(family, ThreadTuner([ThreadPlan(1)]))}),
        screens={"embedded": Screen([(check, "flag") for check in checks], NullObserver())},
    )


def picture(engine: Engine, request: GenerationRequest) -> PIL.Image.Image:
    (image,) = generate(engine, request)
    return PIL.Image.open(BytesIO(image.data)).convert("RGB")


def decoded(engine: Engine, pictures: Pictures) -> Pictures:
    """Once through the autoencoder: inpainted, with an empty mask."""
    nothing = bytes(SIDE * SIDE)
    request = replace(EXAMPLE, num_inference_steps=1, strength=1.0, mask=nothing)
    return {
        name: picture(engine, replace(request, init_image=given.tobytes()))
        for name, given in pictures.items()
    }


def composites(grounds: Iterable[str]) -> Pictures:
    return {
        f"{subject.name} on {ground}": PIL.Image.fromarray(
            compose(WORLD, Scene(subject, "noto", (ground,)))
        )
        for subject in WORLD.drawn
        for ground in grounds
    }


def plain() -> Pictures:
    colours = [*WORLD.colours.values(), *((value,) * 3 for value in GRAYS)]
    return {str(colour): PIL.Image.new("RGB", (SIDE, SIDE), colour) for colour in colours}


def drawn(engine: Engine, grounds: Sequence[str]) -> Pictures:
    """The model's own pictures of some of all things on these grounds."""
    scenes = [(subject.name, ground) for subject in WORLD.drawn for ground in grounds]
    return {
        f"{name} on {ground}": picture(
            engine, replace(EXAMPLE, prompt=f"a {name} on a {ground} background", seed=seed)
        )
        for seed, (name, ground) in enumerate(scenes[::STRIDE])
    }


def report_appearance(sets: dict[str, Pictures]) -> None:
    print("| pictures | | colourfulness | grayscale | contrast | blank |")
    print("|---|---:|---|---:|---|---:|")
    for name, pictures in sets.items():
        colours = [colourfulness(each) for each in pictures.values()]
        contrasts = [contrast(each) for each in pictures.values()]
        gray = [key for key, each in pictures.items() if Grayscale().look(each)]
        blank = [key for key, each in pictures.items() if Blank().look(each)]
        print(
            f"| {name} | {len(pictures)} | {min(colours):.1f} to {max(colours):.1f} | {len(gray)} "
            f"| {min(contrasts):.1f} to {max(contrasts):.1f} | {len(blank)} |"
        )
        if len(gray) < len(pictures) / 2:
            print(f"<!-- grayscale: {', '.join(gray)} -->")


def report_nudity(nudity: Nudity, sets: dict[str, Pictures]) -> None:
    labels = Settings().nsfw_labels
    print("| pictures | |", " | ".join(f"from {threshold}" for threshold in THRESHOLDS), "|")
    print("|---|---:|" + "---:|" * len(THRESHOLDS))
    for name, pictures in sets.items():
        highest = {}
        for key, each in pictures.items():
            scores = nudity.scores(each)
            highest[key] = max(scores[label] for label in labels)
        shares = [
            sum(score >= threshold for score in highest.values()) / len(highest)
            for threshold in THRESHOLDS
        ]
        print(f"| {name} | {len(pictures)} |", " | ".join(f"{s:.1%}" for s in shares), "|")
        most = sorted(highest, key=lambda key: -highest[key])[:8]
        print("<!--", ", ".join(f"{key} {highest[key]:.2f}" for key in most), "-->")


def report_cost(family: DiffusionModel, nudity: Nudity, rounds: int) -> None:
    """What a picture of 20 steps takes, by one client at a time, the variants in turn.

    In seconds, which others on the machine lengthen, and in seconds of a processor: with one thread
    at work at a time both are the same on an otherwise idle machine.
    """
    gray, blank = Grayscale(), Blank()
    variants: dict[str, tuple[Check, ...]] = {
        "none": (),
        "grayscale": (gray,),
        "blank": (blank,),
        "nsfw": (nudity,),
        "all": (gray, blank, nudity),
    }
    engines = {name: start(family, *checks) for name, checks in variants.items()}
    waited: dict[str, list[float]] = {name: [] for name in variants}
    computed: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name, engine in engines.items():
            started, worked = monotonic(), process_time()
            generate(engine, EXAMPLE)
            if turn:  # the first is a warm-up
                waited[name].append(monotonic() - started)
                computed[name].append(process_time() - worked)
    print("| checks | ms | to none | processor, ms | to none |")
    print("|---|---:|---:|---:|---:|")
    for name, engine in engines.items():
        cells = [
            f"{1e3 * median(each[name]):.0f} | {median(each[name]) / median(each['none']):.3f}"
            for each in (waited, computed)
        ]
        print(f"| {name} |", " | ".join(cells), "|")
        engine.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.screening", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="of the measurement of the cost")
    parser.add_argument("--only-cost", action="store_true", help="leave the pictures out")
    arguments = parser.parse_args()
    print(machine.describe())
    family = load_model(load_catalog().get("embedded"), Placement("cpu", "fp32"))
    nudity = Nudity(Settings().nsfw_labels, Settings().nsfw_threshold)
    print()
    report_cost(family, nudity, arguments.rounds)
    if arguments.only_cost:
        return
    engine = start(family)
    coloured = [ground for ground in WORLD.colours if ground not in GRAY_GROUNDS]
    on_gray, on_colour = composites(GRAY_GROUNDS), composites(coloured)
    gray = {name: each.convert("L").convert("RGB") for name, each in on_gray.items()}
    things = {
        "things on gray, white, black": decoded(engine, on_gray),
        "things on nine colours": decoded(engine, on_colour),
        "generated by the model, on gray, white, black": drawn(engine, GRAY_GROUNDS),
        "generated by the model, on nine colours": drawn(engine, coloured),
    }
    print()
    report_appearance(
        {
            "one colour": decoded(engine, plain()),
            "things without colour": decoded(engine, gray),
            **things,
        }
    )
    print()
    report_nudity(nudity, things)
    engine.close()


if __name__ == "__main__":
    main()
