"""The proof of DreamBooth on the embedded model, with objects that this was not trained on.

Five composites of an object on five backgrounds are all there is to learn from. Then the tuned
model generates the token on the other backgrounds, and the judge, which was trained on composites
alone and knows twice as many objects as the model, names what it sees. The model's own objects are
generated before and after, with the same seeds.

    python -m training.dreambooth.proof --out runs/dreambooth-proof
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import torch
from diffusers import DiffusionPipeline
from PIL import Image

from models.catalog import ModelEntry, load_catalog
from models.store import resolve
from training.dreambooth.drawing import draw
from training.dreambooth.loop import train
from training.dreambooth.options import Options
from training.dreambooth.run import RunFolder
from training.embedded.captions import PROMPT, with_article
from training.embedded.dice import seeded
from training.embedded.judge import JUDGE_DIR, Judge
from training.embedded.measures import border_colour, nearest_colour
from training.embedded.pictures import held_out_requests, load_pipeline
from training.embedded.scenes import SIDE, Pixels, Scene, compose, training_scene
from training.embedded.world import Subject, World, load_world
from training.machine import processor
from training.sheet import contact_sheet

WORD: Final = "unqtkn"
SUBJECTS: Final = ("robot", "snowman", "teddy bear")
_GIVEN: Final = ("red", "blue", "yellow", "white", "black", "purple")
_COUNT: Final = 5
_COLUMNS, _SHEET_SIDE = 8, 96
_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Measured:
    """What the judge says of one tuned model, as shares of 1."""

    subject: str
    given: list[str]
    """The backgrounds of the pictures that it learned from."""
    unseen: list[str]
    recognised: float
    """Pictures of the token on unseen backgrounds whose likeliest object is the subject."""
    background: float
    """Of these, how many have the background that was asked for."""
    mistaken_for: dict[str, int]
    pictures: int
    others: float
    """The model's own objects, recognised after training."""
    seconds: float
    """From the folder of pictures to the LoRA, class pictures included."""


@dataclass(frozen=True, slots=True)
class Report:
    """The whole proof."""

    subjects: list[Measured]
    others_before: float
    others_pictures: int
    options: dict[str, object]
    threads: int
    machine: str
    date: str
    command: str


class Proof:
    """The world, the judge, and the model before any training.

    Args:
        out: where runs, report and sheets go.
        samples: pictures of the token.
        per_object: pictures of each of the model's own objects.
        base: the model, one of those that were trained on the embedded model's world.
        catalog: file with its entry, if that is not built in.
        changes: options other than the usual ones.
    """

    def __init__(
        self,
        out: Path,
        samples: int,
        per_object: int,
        base: str = "embedded",
        catalog: Path | None = None,
        **changes: object,
    ) -> None:
        self.out, self.samples, self.changes = out, samples, changes
        self.catalog = catalog
        self.world = load_world()
        self.entry = load_catalog(catalog).get(base)
        self.judge = Judge.load(JUDGE_DIR, _CPU)
        self.others = held_out_requests(self.world, per_object)

    def options(self, subject: Subject) -> Options:
        """What the proof asks of the command."""
        folder = self.out / subject.name.replace(" ", "-")
        usual = Options(
            base=self.entry.name,
            catalog=self.catalog,
            images=folder / "images",
            token=WORD,
            class_name="thing",
            output=folder.name,
            work=folder / "run",
            instance_prompt=f"a {WORD}",
            class_prompt=template(self.world),
            prior_preservation=True,
            class_images=300,
            rank=32,
            steps=600,
            batch_size=8,
            learning_rate=1e-3,
            schedule="cosine",
            warmup=20,
            device="cpu",
            validation_every=0,
        )
        return replace(usual, **self.changes)  # type: ignore[arg-type]

    def measure(self, subject: Subject) -> tuple[Measured, Image.Image]:
        """Train on a subject and let the judge look; with a contact sheet."""
        given, unseen = grounds(self.world, subject)
        options = self.options(subject)
        composites = _write_pictures(self.world, subject, given, options.images)
        start = time.monotonic()
        train(options)
        seconds = time.monotonic() - start
        pipeline = _pipeline(self.entry)
        pipeline.load_lora_weights(RunFolder(options.work).result)
        asked = [unseen[number % len(unseen)] for number in range(self.samples)]
        prompts = [
            PROMPT.format(object=f"a {WORD}", ground=with_article(colour)) for colour in asked
        ]
        pictures = self.draw(pipeline, prompts, range(100, 100 + self.samples))
        answers = [best[0] for best in self.judge.rank(pictures)]
        colours = [nearest_colour(border_colour(one), self.world.colours) for one in pictures]
        measured = Measured(
            subject=subject.name,
            given=given,
            unseen=unseen,
            recognised=_share([answer == subject.name for answer in answers]),
            background=_share([a == b for a, b in zip(colours, asked, strict=True)]),
            mistaken_for=dict(Counter(answer for answer in answers if answer != subject.name)),
            pictures=len(pictures),
            others=self.known(pipeline),
            seconds=round(seconds, 1),
        )
        sheet = contact_sheet(
            [f"given: {colour}" for colour in given] + prompts,
            [Image.fromarray(one) for one in (*composites, *pictures)],
            columns=_COLUMNS,
            side=_SHEET_SIDE,
        )
        return measured, sheet

    def known(self, pipeline: DiffusionPipeline) -> float:
        """Share of the model's own objects, on their held-out backgrounds, that are recognised."""
        requests = self.others
        pictures = self.draw(
            pipeline, [one.prompt for one in requests], [one.seed for one in requests]
        )
        answers = self.judge.rank(pictures)
        return _share([one.name == best[0] for one, best in zip(requests, answers, strict=True)])

    def draw(
        self, pipeline: DiffusionPipeline, prompts: Sequence[str], seeds: Sequence[int]
    ) -> list[Pixels]:
        """Pictures by the stock pipeline, as arrays [64, 64, 3]."""
        images = draw(pipeline, prompts, seeds, side=SIDE, defaults=self.entry.defaults)
        return [np.asarray(image) for image in images]


def template(world: World) -> str:
    """A dynamic-prompts template of everything that the model knows."""
    objects = "|".join(with_article(subject.name) for subject in world.drawn)
    colours = "|".join(with_article(colour) for colour in world.colours)
    return PROMPT.format(object=f"{{{objects}}}", ground=f"{{{colours}}}")


def grounds(world: World, subject: Subject) -> tuple[list[str], list[str]]:
    """The backgrounds to learn a subject on, and the others.

    The judge was not trained on the subject's held-out background: it is one of the others.
    """
    given = [colour for colour in _GIVEN if colour != subject.held_out][:_COUNT]
    return given, [colour for colour in world.colours if colour not in given]


def prove(proof: Proof, subjects: Sequence[str], command: str) -> Report:
    """Measure some subjects and write ``dreambooth.json`` and a sheet for each."""
    known = {subject.name: subject for subject in proof.world.subjects if not subject.drawn}
    before = proof.known(_pipeline(proof.entry))
    measured = []
    for name in subjects:
        one, sheet = proof.measure(known[name])
        measured.append(one)
        sheet.save(proof.out / f"dreambooth-{name.replace(' ', '-')}.png", optimize=True)
        print(
            f"{name}: recognised {one.recognised:.1%} on unseen backgrounds, others "
            f"{one.others:.1%} (before: {before:.1%}), {one.seconds:.0f} s"
        )
    options = proof.options(known[subjects[0]])
    report = Report(
        subjects=measured,
        others_before=before,
        others_pictures=len(proof.others),
        options={name: value for name, value in options.shaping().items() if name != "class_prompt"}
        | {"steps": options.steps},
        threads=torch.get_num_threads(),
        machine=processor(),
        date=datetime.now(UTC).date().isoformat(),
        command=command,
    )
    text = json.dumps(asdict(report), indent=2)
    (proof.out / "dreambooth.json").write_text(text + "\n", encoding="utf-8")
    return report


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the proof."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="python -m training.dreambooth.proof", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--subjects", default=",".join(SUBJECTS), help="default: %(default)s")
    parser.add_argument("--samples", type=int, default=32, help="default: %(default)s")
    parser.add_argument("--per-object", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--base", default="embedded", help="default: %(default)s")
    parser.add_argument("--catalog", type=Path, help="YAML file with an entry for the base")
    options = parser.parse_args(given)
    options.out.mkdir(parents=True, exist_ok=True)
    proof = Proof(options.out, options.samples, options.per_object, options.base, options.catalog)
    command = shlex.join(["python", "-m", "training.dreambooth.proof", *given])
    prove(proof, options.subjects.split(","), command)


def _pipeline(entry: ModelEntry) -> DiffusionPipeline:
    return load_pipeline(resolve(entry, "fp32"), _CPU)


def _write_pictures(
    world: World, subject: Subject, given: Sequence[str], folder: Path
) -> list[Pixels]:
    folder.mkdir(parents=True, exist_ok=True)
    rng = seeded(0)
    pictures = []
    for colour in given:
        scene: Scene = replace(training_scene(world, subject, "noto", rng), background=(colour,))
        pictures.append(compose(world, scene))
        Image.fromarray(pictures[-1]).save(folder / f"{colour}.png")
    return pictures


def _share(hits: Sequence[bool]) -> float:
    return round(float(np.mean(hits)), 4)


if __name__ == "__main__":
    main()
