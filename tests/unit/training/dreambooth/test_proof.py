"""The proof on the embedded model: how it is set up, and at reduced size whether it holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from templating.expansion import expand
from templating.wildcards import Wildcards
from tests.conftest import ROOT
from tests.effort import only_in_full
from training.dreambooth.proof import SUBJECTS, Measured, Proof, grounds, prove, template
from training.embedded.world import load_world

REPORT = json.loads((ROOT / "docs" / "dreambooth.json").read_text())


def test_the_subjects_are_new_and_their_backgrounds_are_divided() -> None:
    world = load_world()
    subjects = {subject.name: subject for subject in world.subjects}
    for name in SUBJECTS:
        assert not subjects[name].drawn
        given, unseen = grounds(world, subjects[name])
        assert len(given) == 5
        assert set(given) | set(unseen) == set(world.colours)
        assert not set(given) & set(unseen)
        assert subjects[name].held_out in unseen


def test_class_pictures_show_what_the_model_knows_and_nothing_else() -> None:
    world = load_world()
    prompts = {expand(template(world), seed, Wildcards({})) for seed in range(300)}
    nouns = {subject.name for subject in world.drawn}
    for prompt in prompts:
        noun, ground = prompt.removesuffix(" background").split(" on ")
        assert noun.split(" ", 1)[1] in nouns
        assert ground.split(" ", 1)[1] in world.colours
    assert len(prompts) > 200


def test_the_committed_report_meets_the_bar() -> None:
    assert {one["subject"] for one in REPORT["subjects"]} <= set(SUBJECTS)
    assert REPORT["subjects"]
    page = (ROOT / "docs" / "dreambooth.md").read_text(encoding="utf-8")
    for one in REPORT["subjects"]:
        assert one["pictures"] == 32
        assert one["recognised"] >= 0.8
        assert one["others"] >= REPORT["others_before"] - 0.05
        assert f"{one['recognised']:.1%}" in page
        assert f"{one['others']:.1%}" in page
        assert (
            ROOT / "docs" / "images" / f"dreambooth-{one['subject'].replace(' ', '-')}.png"
        ).exists()
    assert f"{REPORT['others_before']:.1%}" in page
    assert REPORT["command"] in page


def _prove(folder: Path, others: int, **size: Any) -> tuple[Measured, float]:
    """The proof for one subject at this size, with one in ``others`` of the other pictures.

    Returns:
        What was measured, and how much of the others was recognised before.
    """
    proof = Proof(folder, per_object=1, **size)
    proof.others = proof.others[::others]
    report = prove(proof, ["robot"], "the command")
    (robot,) = report.subjects
    written = json.loads((folder / "dreambooth.json").read_text())
    assert written["subjects"][0]["recognised"] == robot.recognised
    with Image.open(folder / "dreambooth-robot.png") as sheet:
        assert np.asarray(sheet).std() > 10
    return robot, report.others_before


@pytest.mark.slow
def test_the_proof_is_written_down(tmp_path: Path) -> None:
    """Of a training that is far too short."""
    robot, _ = _prove(tmp_path, 28, samples=2, steps=2, warmup=1, class_images=2)
    assert robot.pictures == 2
    assert 0 <= robot.recognised <= 1


@only_in_full
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_new_object_is_learnt_and_the_others_are_kept(tmp_path: Path) -> None:
    robot, others_before = _prove(tmp_path, 7, samples=10, steps=100, class_images=24)
    assert robot.recognised >= 0.6
    assert robot.background >= 0.9
    assert robot.others >= others_before - 0.2
