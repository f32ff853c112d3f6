"""How large a picture may be: by what passes take."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from engine.pace import largest_area, pass_seconds
from engine.pipelines.stable_diffusion import StableDiffusion
from tests.conftest import make_request

NATIVE = (512, 512)
MOST = 2_400_000
Measure = Callable[[int, int], float]


def device(seconds: float, exponent: float) -> tuple[Measure, list[int]]:
    """A pass of 512 x 512 takes so long, and that grows with a power of the area."""
    measured: list[int] = []

    def measure(width: int, height: int) -> float:
        measured.append(width * height)
        return seconds * math.pow(width * height / 512**2, exponent)

    return measure, measured


@pytest.mark.parametrize("exponent", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("seconds", [0.0005, 0.01, 0.1])
def test_it_fits_into_the_bound_and_is_not_much_smaller(seconds: float, exponent: float) -> None:
    measure, measured = device(seconds, exponent)
    area = largest_area(measure, NATIVE, 0.5, 100_000_000)
    exact = 512**2 * (0.5 / seconds) ** (1 / exponent)
    assert 0.7 * min(exact, 1e8) <= area <= exact * 1.0001
    times = [seconds * (size / 512**2) ** exponent for size in measured]
    assert max(times) <= 2 * 0.5, "nothing much longer than the bound is run"
    assert sum(times) <= 3 * 0.5


def test_a_model_of_a_slow_device_makes_pictures_of_its_own_size() -> None:
    measure, measured = device(10.0, 1.5)
    area = largest_area(measure, NATIVE, 0.5, MOST)
    assert 640 * 448 <= area <= 1.3 * 512**2
    assert len(measured) == 1


def test_a_fast_device_has_the_most() -> None:
    measure, _ = device(0.001, 1.2)
    assert largest_area(measure, NATIVE, 0.5, MOST) == MOST
    assert largest_area(measure, NATIVE, 0.5, 100_000) == 100_000


def test_what_does_not_fit_into_memory_is_not_allowed() -> None:
    def measure(width: int, height: int) -> float:
        return 0.001 if width * height < 1_000_000 else math.inf

    assert 512**2 < largest_area(measure, NATIVE, 0.5, MOST) < 1_000_000


@pytest.mark.parametrize("noise", [0.9, 1.1])
def test_a_little_noise_changes_it_little(noise: float) -> None:
    measure, _ = device(0.01, 1.5)
    quiet = largest_area(measure, NATIVE, 0.5, MOST)
    noisy = largest_area(lambda *size: noise * measure(*size), NATIVE, 0.5, MOST)
    assert noisy == pytest.approx(quiet, rel=0.2)


def test_a_pass_of_a_model_takes_its_time(model: StableDiffusion) -> None:
    seconds = [
        pass_seconds(model, make_request(width=side, height=side), 2, "cpu", patience=60)
        for side in (64, 256)
    ]
    assert 0 < seconds[0] < seconds[1]
