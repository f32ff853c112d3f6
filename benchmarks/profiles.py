"""The profiles of a load: how its rate changes from its beginning to its end."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

BASE = 0.1  # of the highest rate, between bursts
NIGHT = 0.05  # of the highest rate, at the quietest hour


@dataclass(frozen=True, slots=True)
class Profile:
    """A shape.

    Attributes:
        share: of the highest rate, from 0 to 1, at a point of the load, from 0 to 1.
    """

    name: str
    title: str
    share: Callable[[float], float]

    def times(self, rate: float, seconds: float, seed: int) -> Iterator[float]:
        """When requests arrive, in seconds since the start: a Poisson process of that shape.

        Args:
            rate: the highest, in arrivals per second, above 0.
            seconds: how long they come.
            seed: equal seeds give equal times.
        """
        dice = random.Random(seed)  # noqa: S311
        time = 0.0
        while (time := time + dice.expovariate(rate)) <= seconds:
            share = self.share(time / seconds)
            # Arrivals at the highest rate, of which each is kept with the share as its probability.
            if share >= 1 or dice.random() < share:
                yield time


def _steady(_: float) -> float:
    return 1.0


def _ramp(point: float) -> float:
    return min(1.0, point / 0.4, (1 - point) / 0.4)


def _burst(point: float) -> float:
    return 1.0 if 0.2 <= point < 0.35 or 0.6 <= point < 0.75 else BASE


def _diurnal(point: float) -> float:
    return NIGHT + (1 - NIGHT) * (1 - math.cos(2 * math.pi * point)) / 2


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("steady", "the same rate throughout", _steady),
        Profile("ramp", "up from nothing over two fifths, and down again over the last two", _ramp),
        Profile("burst", "a tenth of the rate, and twice all of it at once", _burst),
        Profile("diurnal", "a day from midnight to midnight, however long it takes", _diurnal),
    )
}
