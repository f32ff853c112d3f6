"""The judge: a small image classifier that never sees a generated picture in training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import ResNetConfig, ResNetForImageClassification

from training.embedded.art import STYLES
from training.embedded.dice import seeded
from training.embedded.loop import Share, load_trained
from training.embedded.scenes import Pixels, compose, held_out_scene, training_scene
from training.embedded.tensors import to_tensor
from training.embedded.world import World, load_world

JUDGE_DIR = Path(__file__).parent / "judge"
_BATCH = 64

ARCHITECTURE: dict[str, Any] = {
    "embedding_size": 32,
    "hidden_sizes": [48, 96, 160],
    "depths": [1, 1, 1],
    "layer_type": "basic",
}


class Judge:
    """Names the object in a picture, out of all subjects of the world."""

    def __init__(self, network: ResNetForImageClassification, device: torch.device) -> None:
        self._network = network.float().to(device).eval()
        self._device = device
        labels = network.config.id2label
        self.names = [str(labels[number]) for number in range(len(labels))]

    @classmethod
    def load(cls, directory: Path, device: torch.device) -> Judge:
        """Read a trained classifier."""
        return cls(ResNetForImageClassification.from_pretrained(directory), device)

    @torch.no_grad()
    def rank(self, pixels: list[Pixels]) -> list[list[str]]:
        """For each picture (RGB, [64, 64, 3]), the five likeliest names, best first."""
        answers: list[list[str]] = []
        for start in range(0, len(pixels), _BATCH):
            batch = to_tensor(pixels[start : start + _BATCH]).to(self._device)
            best = self._network(batch).logits.topk(5).indices.cpu()
            answers += [[self.names[int(number)] for number in row] for row in best]
        return answers


@dataclass(frozen=True, slots=True)
class JudgePlan:
    """Composites of both art styles. Held-out pairs are left out here too, so that the judge's
    accuracy on them is a fair measure of the judge."""

    def learner(self, device: torch.device) -> JudgeLearner:
        world = load_world()
        return JudgeLearner(new_judge(world).to(device), world, device)


class JudgeLearner:
    """Cross-entropy on pictures with some noise and contrast: drawn ones are never quite clean."""

    def __init__(
        self, network: ResNetForImageClassification, world: World, device: torch.device
    ) -> None:
        self.network = network
        self._world, self._device = world, device

    def loss(self, share: Share) -> Tensor:
        """Label-smoothed cross-entropy over the subjects."""
        rng = seeded(share.generator.initial_seed())
        subjects = self._world.subjects
        numbers = [rng.randrange(len(subjects)) for _ in range(share.count)]
        pixels = to_tensor(
            [
                compose(
                    self._world,
                    training_scene(self._world, subjects[n], rng.choice(STYLES), rng),
                )
                for n in numbers
            ]
        )
        size = (share.count, 1, 1, 1)
        gain = 0.85 + 0.3 * torch.rand(size, generator=share.generator)
        strength = 0.15 * torch.rand(size, generator=share.generator)
        noise = torch.randn(pixels.shape, generator=share.generator)
        pixels = (pixels * gain + strength * noise).clamp(-1, 1)
        logits = self.network(pixels.to(self._device)).logits
        targets = torch.tensor(numbers, device=self._device)
        return functional.cross_entropy(logits, targets, label_smoothing=0.05)


def new_judge(world: World) -> ResNetForImageClassification:
    """An untrained classifier with one label per subject."""
    names = [subject.name for subject in world.subjects]
    config = ResNetConfig(
        **ARCHITECTURE,
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    return ResNetForImageClassification(config)


def export_judge(checkpoint: Path, directory: Path, world: World) -> None:
    """Write the averaged classifier of a checkpoint in half precision."""
    network = new_judge(world)
    load_trained(checkpoint, network)
    network.half().save_pretrained(directory)


def held_out_composites(
    world: World, style: str, per_subject: int, seed: int
) -> list[tuple[str, Pixels]]:
    """Real pictures of the drawn objects on their held-out colours: (name, pixels)."""
    rng = seeded(seed)
    return [
        (subject.name, compose(world, held_out_scene(subject, style, rng)))
        for subject in world.drawn
        for _ in range(per_subject)
    ]
