"""A classifier is trained, interrupted, resumed and fine-tuned, in seconds."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainingArguments

from models.vit import read_vit
from tests.unit.training.classifier.colours import COLOURS, paint
from training.__main__ import main
from training.classifier.examples import Example, Folder
from training.classifier.network import new_network
from training.classifier.recipe import Recipe, ResumableTrainer


class Interrupted(Exception):
    """Somebody pulled the plug."""


class Fragile(Folder):
    """Notes which pictures were asked for, and fails when ``left`` are done."""

    def __init__(self, folder: Path, left: int) -> None:
        super().__init__(folder)
        self.left = left
        self.seen: list[int] = []

    def training(self, index: int, rng: random.Random) -> Example:
        if len(self.seen) == self.left:
            raise Interrupted
        self.seen.append(index)
        return super().training(index, rng)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    paint(folder, count=12)
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command has made of the colours."""
    out = tmp_path_factory.mktemp("run")
    main(
        [
            *("classifier", "--data", str(data), "--out", str(out), "--device", "cpu"),
            *("--samples", "144", "--batch", "12", "--save-every", "6"),
        ]
    )
    return out


def test_the_command_trains_and_reports(trained: Path) -> None:
    report = json.loads((trained / "report.json").read_text())
    assert report["accuracy"]["held out"] == {"top1": 1, "top5": 1, "pictures": 6, "missed": {}}
    assert report["command"].startswith("python -m training classifier --data")


def test_the_model_is_what_the_service_reads(trained: Path) -> None:
    vit = read_vit(trained / "model")
    assert vit.labels == tuple(sorted(COLOURS))
    assert (vit.width, vit.height) == (64, 64)
    weights = load_file(trained / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}


def test_running_again_gives_the_same_model_without_training(data: Path, trained: Path) -> None:
    before = load_file(trained / "model" / "model.safetensors")
    Recipe(out=trained, samples=144, batch=12).train(Fragile(data, left=0))
    for name, tensor in load_file(trained / "model" / "model.safetensors").items():
        assert torch.equal(tensor, before[name])


def test_an_interrupted_run_goes_on_where_it_was(data: Path, trained: Path, tmp_path: Path) -> None:
    recipe = Recipe(out=tmp_path, samples=144, batch=12, save_every=6)
    first, second = Fragile(data, left=12 * 8), Fragile(data, left=144)
    with pytest.raises(Interrupted):
        recipe.train(first)
    assert not recipe.model.exists()
    recipe.train(second)
    # Of 12 updates 6 were written down, and every picture counts once.
    assert sorted(first.seen[: 12 * 6] + second.seen) == list(range(144))
    # As if nothing had been, but for the last bits.
    resumed = load_file(recipe.model / "model.safetensors")
    for name, tensor in load_file(trained / "model" / "model.safetensors").items():
        torch.testing.assert_close(resumed[name], tensor, rtol=0, atol=2e-4)


def test_a_checkpoint_is_read_as_it_was_written(trained: Path) -> None:
    vit = new_network(read_vit(trained / "model").labels)
    trainer = ResumableTrainer(
        vit, TrainingArguments(str(trained / "none"), use_cpu=True, report_to="none")
    )
    trainer._load_from_checkpoint(str(trained / "checkpoints" / "checkpoint-12"))
    written = load_file(trained / "model" / "model.safetensors")
    vit.half().save_pretrained(trained / "again")
    for name, tensor in load_file(trained / "again" / "model.safetensors").items():
        assert torch.equal(tensor, written[name]), name


def test_a_trained_classifier_learns_other_labels(trained: Path, tmp_path: Path) -> None:
    colours = {"white": (240, 240, 240), "black": (10, 10, 10)}
    paint(tmp_path / "data", count=8, colours=colours)
    main(
        [
            *("classifier", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")),
            *("--init-from", str(trained / "model"), "--samples", "80", "--batch", "8"),
            *("--device", "cpu"),
        ]
    )
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["accuracy"]["held out"]["top1"] == 1
    assert read_vit(tmp_path / "out" / "model").labels == ("black", "white")
    start = load_file(trained / "model" / "model.safetensors")
    tuned = load_file(tmp_path / "out" / "model" / "model.safetensors")
    name = "vit.embeddings.patch_embeddings.projection.weight"
    assert (start[name] - tuned[name]).abs().mean() < start[name].abs().mean()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--data", "nowhere"], "nowhere is no folder"),
        (["--data", "DATA", "--init-from", "nowhere"], "nowhere is not the folder of an image"),
    ],
)
def test_what_is_unusable_is_said_in_a_sentence(
    arguments: list[str], sentence: str, data: Path, tmp_path: Path
) -> None:
    given = [str(data) if argument == "DATA" else argument for argument in arguments]
    with pytest.raises(SystemExit, match=sentence):
        main(["classifier", "--out", str(tmp_path), *given])
