"""Generators that follow from a key."""

from __future__ import annotations

import torch

from training.dreambooth.chance import chance


def test_every_part_of_the_key_counts() -> None:
    keys = [("pass", 0, 0), ("pass", 1, 0), ("pass", 0, 1), ("order", 0, 0), ("pass", 2**40, 0)]
    drawn = [torch.rand(4, generator=chance(*key)) for key in keys]
    assert torch.unique(torch.stack(drawn), dim=0).shape == (5, 4)
    assert torch.equal(drawn[0], torch.rand(4, generator=chance("pass", 0, 0)))
