"""The number of CPU threads follows from measurements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import sleep

import pytest
import torch

from engine.families.stable_diffusion import StableDiffusion
from engine.state import DenoisingState
from engine.threads import choose_threads
from tests.conftest import make_request


class Paced:
    """The real model, but for the time that a pass takes with one and with several threads."""

    def __init__(self, family: StableDiffusion, one: float, several: float) -> None:
        self._seconds = {1: one}
        self._several = several
        self.prepare = family.prepare
        self.decode = family.decode

    def forward(self, states: Sequence[DenoisingState]) -> list[torch.Tensor]:
        sleep(self._seconds.get(torch.get_num_threads(), self._several))
        return []


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("one", "several", "expected"),
    [(0.001, 0.05, 1), (0.05, 0.001, 3), (0.6, 0.7, 3)],
    ids=["barriers cost more", "threads pay", "a large pass is not measured further"],
)
@pytest.mark.usefixtures("three_threads")
def test_the_faster_one_is_kept(
    family: StableDiffusion, one: float, several: float, expected: int
) -> None:
    assert choose_threads(Paced(family, one, several), make_request()) == expected
    assert torch.get_num_threads() == expected
