"""The optimiser of a transformer's matrices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from training.embedded.loop import LoopSettings, Share, train
from training.embedded.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(2, 24, 24), (2, 16, 64), (3, 96, 16)])
def test_directions_stay_and_sizes_become_alike(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, sizes, right = torch.linalg.svd(matrices, full_matrices=False)
    made = left.mT @ orthogonal(matrices) @ right.mT
    inside = torch.diagonal(made, dim1=1, dim2=2)
    torch.testing.assert_close(made, torch.diag_embed(inside), rtol=0, atol=1e-3)
    # The smallest of a square matrix may be too small to become like the others.
    large = sizes > 0.05 * sizes.amax(dim=1, keepdim=True)
    assert inside[large].min() > 0.6
    assert inside.max() < 1.3


def test_a_step_is_as_long_as_the_learning_rate_says() -> None:
    matrix = nn.Parameter(torch.zeros(32, 64))
    matrix.grad = torch.randn(32, 64, generator=torch.Generator().manual_seed(0)) * 1e-3
    Muon([matrix], lr=0.01).step()
    # AdamW's steps have this size where the gradient's sign changes now and then.
    root_mean_square = float(matrix.detach().square().mean().sqrt())
    assert root_mean_square == pytest.approx(0.2 * 0.01, rel=0.3)


def test_a_matrix_without_a_gradient_stays() -> None:
    matrix = nn.Parameter(torch.ones(2, 2))
    Muon([matrix], lr=1.0).step()
    assert torch.equal(matrix.detach(), torch.ones(2, 2))


class _Power(Exception):
    """The lights went out."""


class _Layers:
    """Two layers that learn what two others do."""

    def __init__(self, dies_at: int | None) -> None:
        torch.manual_seed(0)
        self.known = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4))
        self.network = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4))
        self._dies_at = dies_at

    def loss(self, share: Share) -> Tensor:
        if share.update == self._dies_at:
            raise _Power
        inputs = torch.randn(share.count, 8, generator=share.generator)
        return nn.functional.mse_loss(self.network(inputs), self.known(inputs).detach())


class _Plan:
    def __init__(self, dies_at: int | None = None) -> None:
        self._dies_at = dies_at

    def learner(self, device: torch.device) -> _Layers:
        return _Layers(self._dies_at)


def _state(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(path, weights_only=True)
    return state


def test_matrices_and_the_rest_learn_and_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    def settings(name: str) -> LoopSettings:
        return LoopSettings(
            name="test",
            checkpoint=tmp_path / name,
            samples=3200,
            learning_rate=0.03,
            batch=16,
            warmup=10,
            orthogonal="2.",
            checkpoint_seconds=0.0,
        )

    train(settings("whole.pt"), _Plan())
    with pytest.raises(_Power):
        train(settings("parts.pt"), _Plan(dies_at=90))
    train(settings("parts.pt"), _Plan())
    whole, parts = _state(tmp_path / "whole.pt"), _state(tmp_path / "parts.pt")
    assert all(
        torch.equal(value, parts["network"][name]) for name, value in whole["network"].items()
    )
    # One matrix is Muon's; the other, and what is no matrix, is not.
    assert len(whole["muon"]["state"]) == 1
    assert len(whole["optimiser"]["state"]) == 3
    layers = _Layers(None)
    share = Share(0, 0, 256, 256, 0.0, torch.Generator().manual_seed(1))
    before = float(layers.loss(share))
    layers.network.load_state_dict(whole["network"])
    assert float(layers.loss(share)) < 0.2 * before
