"""The training loop: exact resuming, and workers that add up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from training.embedded.loop import (
    Learner,
    LoopSettings,
    Share,
    learning_rate,
    load_trained,
    train,
)


class _Power(Exception):
    """The lights went out."""


class _Line:
    """Fits a line to points that depend on the sample's number and the update alone."""

    def __init__(self, dies_at: int | None, noise: float) -> None:
        torch.manual_seed(1)
        self.network = nn.Linear(3, 1)
        self._dies_at, self._noise = dies_at, noise

    def loss(self, share: Share) -> Tensor:
        if share.update == self._dies_at:
            raise _Power
        numbers = torch.arange(share.offset, share.offset + share.count) + 10.0 * share.update
        inputs = torch.stack([numbers.sin(), numbers.cos(), (numbers / 3).sin()], dim=1)
        target = inputs.sum(dim=1, keepdim=True) + 1
        target += self._noise * torch.randn(target.shape, generator=share.generator)
        return nn.functional.mse_loss(self.network(inputs), target)


@dataclass(frozen=True, slots=True)
class _Plan:
    dies_at: int | None = None
    noise: float = 0.0

    def learner(self, device: torch.device) -> Learner:
        return _Line(self.dies_at, self.noise)


def _settings(path: Path, **changes: Any) -> LoopSettings:
    settings = LoopSettings(
        name="test", checkpoint=path, samples=320, learning_rate=0.05, batch=8, warmup=4
    )
    return replace(settings, checkpoint_seconds=0.0, **changes)


def _state(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(path, weights_only=True)
    return state


def _assert_same(first: dict[str, Tensor], second: dict[str, Tensor], tolerance: float) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=0, atol=tolerance)


def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    train(_settings(tmp_path / "whole.pt"), _Plan(noise=0.1))
    with pytest.raises(_Power):
        train(_settings(tmp_path / "parts.pt"), _Plan(dies_at=17, noise=0.1))
    assert _state(tmp_path / "parts.pt")["update"] == 17
    train(_settings(tmp_path / "parts.pt"), _Plan(noise=0.1))
    whole, parts = _state(tmp_path / "whole.pt"), _state(tmp_path / "parts.pt")
    assert whole["update"] == parts["update"] == 40
    _assert_same(whole["network"], parts["network"], 0)
    _assert_same(whole["ema"], parts["ema"], 0)


def test_two_workers_do_the_work_of_one(tmp_path: Path) -> None:
    train(_settings(tmp_path / "one.pt", samples=80), _Plan())
    train(_settings(tmp_path / "two.pt", samples=80, processes=2), _Plan())
    one, two = _state(tmp_path / "one.pt"), _state(tmp_path / "two.pt")
    _assert_same(one["network"], two["network"], 1e-5)


def test_a_finished_run_is_left_alone_and_a_longer_one_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    train(_settings(path), _Plan())
    before = _state(path)
    train(_settings(path), _Plan(dies_at=40))
    _assert_same(before["network"], _state(path)["network"], 0)
    train(_settings(path, samples=400), _Plan())
    assert _state(path)["update"] == 50


def test_training_learns_and_the_average_is_what_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    train(_settings(path, samples=4000, ema=0.9), _Plan())
    network = nn.Linear(3, 1)
    load_trained(path, network)
    torch.testing.assert_close(network.weight, torch.ones(1, 3), rtol=0, atol=0.05)
    assert torch.equal(network.bias, _state(path)["ema"]["bias"])


def test_the_learning_rate_rises_and_falls_to_nothing() -> None:
    settings = _settings(Path("unused"))
    rates = [learning_rate(settings, update) for update in range(41)]
    assert rates.index(max(rates)) == 3
    assert rates[0] == pytest.approx(0.05 / 4)
    assert rates[40] == pytest.approx(0.0)


def test_what_was_never_trained_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing was trained yet"):
        load_trained(tmp_path / "missing.pt", nn.Linear(3, 1))


def test_a_batch_must_divide_among_the_workers(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="multiple of the number of processes"):
        train(_settings(tmp_path / "run.pt", processes=3), _Plan())
