"""The training loop of every network of the recipe: data-parallel, resumable, averaged."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from training.embedded.checkpoint import load_checkpoint, save_checkpoint
from training.embedded.muon import Muon
from training.embedded.workers import Worker, run_workers


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """How long and how fast to train."""

    name: str
    checkpoint: Path
    samples: int
    """Total over all resumed runs. It may be changed when resuming: the schedule follows."""
    learning_rate: float
    batch: int = 64
    """Samples per update, over all processes."""
    warmup: int = 200
    """Updates until the learning rate is at its peak."""
    weight_decay: float = 0.0
    orthogonal: str | None = None
    """Matrices whose names begin like this are trained by Muon; all else by AdamW."""
    ema: float = 0.999
    device: str = "cpu"
    processes: int = 1
    checkpoint_seconds: float = 120.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Share:
    """What one worker does in one update."""

    update: int
    offset: int
    """Number of its first sample within the update."""
    count: int
    total: int
    done: float
    """How much of the training is over, 0..1."""
    generator: torch.Generator
    """Seeded by the update and the worker alone, so that a resumed run goes on exactly."""


class Learner(Protocol):
    """A network and its loss."""

    @property
    def network(self) -> nn.Module:
        """What is trained."""
        ...

    def loss(self, share: Share) -> Tensor:
        """The loss of a worker's share of an update, a scalar."""
        ...


class Plan(Protocol):
    """A picklable description of a learner: every worker builds its own."""

    def learner(self, device: torch.device) -> Learner:
        """Build it, the same in every process."""
        ...


@dataclass(frozen=True, slots=True)
class _Job:
    settings: LoopSettings
    plan: Plan


def train(settings: LoopSettings, plan: Plan) -> None:
    """Train until `samples` samples were seen, from the last checkpoint if there is one."""
    if settings.batch % settings.processes:
        raise ValueError("the batch must be a multiple of the number of processes")
    run_workers(settings.processes, _work, _Job(settings, plan))


def load_trained(checkpoint: Path, network: nn.Module) -> None:
    """Put the averaged weights of a checkpoint into a network."""
    state = load_checkpoint(checkpoint)
    if state is None:
        raise FileNotFoundError(f"nothing was trained yet: {checkpoint} is missing")
    network.load_state_dict(state["network"] | state["ema"])


def learning_rate(settings: LoopSettings, update: int) -> float:
    """Linear warm-up, then a cosine that reaches zero at the last sample."""
    done = min(1.0, update * settings.batch / settings.samples)
    ramp = min(1.0, (update + 1) / max(1, settings.warmup))
    return settings.learning_rate * ramp * 0.5 * (1 + math.cos(math.pi * done))


def _optimisers(network: nn.Module, settings: LoopSettings) -> dict[str, torch.optim.Optimizer]:
    """By the name that their state has in a checkpoint."""
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    prefix = settings.orthogonal
    matrices = {
        name: p
        for name, p in trained.items()
        if prefix is not None and name.startswith(prefix) and p.ndim == 2
    }
    found: dict[str, torch.optim.Optimizer] = {
        "optimiser": torch.optim.AdamW(
            [p for name, p in trained.items() if name not in matrices],
            betas=(0.9, 0.99),
            weight_decay=settings.weight_decay,
        )
    }
    if matrices:
        found["muon"] = Muon(matrices.values(), lr=settings.learning_rate)
    return found


def _work(worker: Worker, job: _Job) -> None:
    device = torch.device(job.settings.device)
    worker.start(device)
    torch.manual_seed(job.settings.seed)
    _Trainer(worker, job.settings, job.plan.learner(device)).run()
    worker.stop()


class _Trainer:
    """The state of one worker: network, optimiser, average, number of updates made."""

    def __init__(self, worker: Worker, settings: LoopSettings, learner: Learner) -> None:
        self.worker, self.settings, self.learner = worker, settings, learner
        self.network = learner.network.train()
        self.parameters = [p for p in self.network.parameters() if p.requires_grad]
        self.optimisers = _optimisers(self.network, settings)
        self.ema = {name: value.clone() for name, value in self._averaged().items()}
        self.update = 0
        state = load_checkpoint(settings.checkpoint)
        if state is not None:
            self.network.load_state_dict(state["network"])
            for name, optimiser in self.optimisers.items():
                optimiser.load_state_dict(state[name])
            for name, value in state["ema"].items():
                self.ema[name].copy_(value)
            self.update = state["update"]

    def run(self) -> None:
        settings, worker = self.settings, self.worker
        bar = tqdm(
            desc=settings.name,
            unit="sample",
            total=settings.samples,
            initial=self.update * settings.batch,
            disable=worker.rank > 0,
            smoothing=0.05,
            mininterval=2.0,
        )
        saved = time.monotonic()
        mean = float("nan")
        while self.update * settings.batch < settings.samples:
            loss = self.step()
            mean = loss if math.isnan(mean) else 0.99 * mean + 0.01 * loss
            bar.set_postfix(loss=f"{mean:.4f}", refresh=False)
            bar.update(settings.batch)
            if worker.rank == 0 and time.monotonic() - saved > settings.checkpoint_seconds:
                self.save()
                saved = time.monotonic()
        bar.close()
        if worker.rank == 0:
            self.save()

    def step(self) -> float:
        """One update of the weights and of their average. Returns this worker's loss."""
        loss = self.learner.loss(self._share())
        # Autograd is untyped in torch.
        loss.backward()  # type: ignore[no-untyped-call]
        self.worker.average([p.grad for p in self.parameters if p.grad is not None])
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(self.settings, self.update)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.update += 1
        # A young average forgets faster, or it would remember the random start for long.
        decay = min(self.settings.ema, (1 + self.update) / (10 + self.update))
        current = list(self._averaged().values())
        torch._foreach_lerp_(list(self.ema.values()), current, 1 - decay)
        return float(loss.detach())

    def save(self) -> None:
        save_checkpoint(
            self.settings.checkpoint,
            {
                "network": self.network.state_dict(),
                **{name: one.state_dict() for name, one in self.optimisers.items()},
                "ema": self.ema,
                "update": self.update,
            },
        )

    def _share(self) -> Share:
        settings, worker = self.settings, self.worker
        count = settings.batch // worker.count
        seed = (settings.seed << 48) + (self.update << 8) + worker.rank
        return Share(
            update=self.update,
            offset=worker.rank * count,
            count=count,
            total=settings.batch,
            done=self.update * settings.batch / settings.samples,
            generator=torch.Generator().manual_seed(seed),
        )

    def _averaged(self) -> dict[str, Tensor]:
        """Weights and running statistics: everything but counters."""
        state = self.network.state_dict()
        return {name: value for name, value in state.items() if value.is_floating_point()}
