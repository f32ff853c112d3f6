"""Samplers keep to what the table of architectures says of them."""

from __future__ import annotations

from typing import Any

import pytest

from engine.denoising.samplers import FLOW_SAMPLERS, SAMPLERS
from models.architectures import ARCHITECTURES, SCHEDULER_MAX_STEPS
from tests.unit.models import tiny


@pytest.fixture(scope="module")
def config() -> Any:
    return tiny.stable_diffusion().scheduler.config


def test_every_name_of_an_architecture_has_a_sampler() -> None:
    samplers = {"diffusion": SAMPLERS, "flow": FLOW_SAMPLERS}
    for architecture in ARCHITECTURES.values():
        assert set(architecture.schedulers) == samplers[architecture.prediction].keys()


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_most_steps_of_a_name_are_those_of_its_class(config: Any, name: str) -> None:
    scheduler = SAMPLERS[name].create(config)
    most = SCHEDULER_MAX_STEPS.get(name)
    scheduler.set_timesteps(most or 150)
    if most is not None:
        with pytest.raises(ValueError, match=f"{most} x 1.0 is smaller"):
            scheduler.set_timesteps(most + 1)
