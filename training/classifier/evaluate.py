"""The test of a finished classifier, and the report of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from training.classifier.examples import Example
from training.classifier.network import load_checkpoint, load_processor
from training.embedded.evaluate import machine, size_in_megabytes

_BATCH = 64
_TOP = 5


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How often pictures were recognised, as shares of 1."""

    top1: float
    top5: float
    pictures: int
    missed: dict[str, list[str]]
    """Labels that were not always recognised, with what the pictures were taken for."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is measured of a classifier."""

    labels: int
    parameters: int
    megabytes: float
    """Of its folder, in units of 10⁶ bytes."""
    accuracy: dict[str, Accuracy]
    """By the part of the test."""
    machine: str
    date: str
    command: str

    def write(self, file: Path) -> None:
        """Write it as JSON."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        file.write_text(text + "\n", encoding="utf-8")


def evaluate(
    folder: Path, tests: dict[str, Sequence[Example]], device: torch.device, command: str
) -> Report:
    """Measure the classifier of a folder on pictures that it has never seen."""
    network = load_checkpoint(folder).to(device).eval()
    processor = load_processor(folder)
    labels = [network.config.id2label[number] for number in range(network.config.num_labels)]

    @torch.inference_mode()
    def rank(pictures: list[Image.Image]) -> list[list[int]]:
        values = processor(pictures, return_tensors="pt")["pixel_values"].to(device)
        best = network(pixel_values=values).logits.topk(min(_TOP, len(labels))).indices
        return [[int(number) for number in row] for row in best.cpu()]

    accuracy = {}
    for part, examples in tests.items():
        answers: list[list[int]] = []
        for start in tqdm(range(0, len(examples), _BATCH), desc=part, unit="batch"):
            answers += rank([example.picture for example in examples[start : start + _BATCH]])
        accuracy[part] = _accuracy(examples, answers, labels)
    return Report(
        labels=len(labels),
        parameters=sum(weight.numel() for weight in network.parameters()),
        megabytes=round(size_in_megabytes(folder), 2),
        accuracy=accuracy,
        machine=machine(device),
        date=datetime.now(UTC).date().isoformat(),
        command=command,
    )


def _accuracy(examples: Sequence[Example], answers: list[list[int]], labels: list[str]) -> Accuracy:
    pairs = list(zip(examples, answers, strict=True))
    missed: dict[str, list[str]] = {}
    for example, best in pairs:
        if best[0] != example.label:
            missed.setdefault(labels[example.label], []).append(labels[best[0]])
    count = len(pairs)
    return Accuracy(
        top1=round(sum(example.label == best[0] for example, best in pairs) / count, 4),
        top5=round(sum(example.label in best for example, best in pairs) / count, 4),
        pictures=count,
        missed=missed,
    )
