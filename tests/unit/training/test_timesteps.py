"""Timesteps of an update."""

from __future__ import annotations

import torch

from training.timesteps import stratified_timesteps


def test_they_cover_all_intervals_whoever_draws_them() -> None:
    halves = [
        stratified_timesteps(
            1000,
            offset=10 * rank,
            count=10,
            total=20,
            generator=torch.Generator().manual_seed(rank),
        )
        for rank in range(2)
    ]
    assert (torch.cat(halves) // 50).tolist() == list(range(20))
