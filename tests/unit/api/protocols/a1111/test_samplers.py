"""The names of samplers and schedules."""

from __future__ import annotations

import pytest

from api.protocols.a1111.samplers import SAMPLERS, SCHEDULES, choose, described
from contract.errors import RequestError
from models.architectures import SCHEDULERS

NAMES = ("sampler_name", "scheduler")


@pytest.mark.parametrize(
    ("sampler", "schedule", "scheduler"),
    [
        ("Euler a", None, "euler_a"),
        ("euler A", "Automatic", "euler_a"),
        ("k_euler_ancestral", "", "euler_a"),
        ("Euler", "uniform", "euler"),
        ("Euler", "SGM Uniform", "euler_trailing"),
        # As there, where no schedule is named.
        ("DPM++ 2M", None, "dpmpp_2m_karras"),
        ("DPM++ 2M", "Karras", "dpmpp_2m_karras"),
        ("DPM++ 2M", "uniform", "dpmpp_2m"),
        ("DPM++ 2M Karras", None, "dpmpp_2m_karras"),
        ("PLMS", None, "pndm"),
        ("UniPC", None, "unipc"),
        ("Heun", None, "heun"),
        ("LCM", None, "lcm"),
        # Ours, as the texts in pictures of the native protocol have them.
        *((name, None, name) for name in SCHEDULERS if name != "dpmpp_2m"),
        (None, None, None),
        ("", "automatic", None),
    ],
)
def test_pairs(sampler: str | None, schedule: str | None, scheduler: str | None) -> None:
    choice = choose(sampler, schedule, NAMES)

    assert (choice.scheduler, choice.ignored) == (scheduler, "")


def test_a_sampler_with_a_schedule_of_its_own_says_so() -> None:
    choice = choose("DDIM", "karras", NAMES)

    assert (choice.scheduler, choice.ignored) == ("ddim", "DDIM has a schedule of its own")
    assert choose("dpmpp_2m", "karras", NAMES).ignored


@pytest.mark.parametrize(
    ("sampler", "schedule", "field", "sentence"),
    [
        ("DPM++ SDE", None, "sampler_name", "sampler_name must be one of DPM++ 2M, Euler a,"),
        ("Euler", "beta", "scheduler", "scheduler must be one of automatic, uniform, karras,"),
        (
            "Euler",
            "karras",
            "scheduler",
            "scheduler must be one of automatic, uniform, sgm_uniform with the sampler Euler, "
            'got "karras"',
        ),
        (None, "karras", "scheduler", "scheduler must be automatic where there is no sampler_name"),
    ],
)
def test_what_is_not_there_is_named(
    sampler: str | None, schedule: str | None, field: str, sentence: str
) -> None:
    with pytest.raises(RequestError) as error:
        choose(sampler, schedule, NAMES)

    assert error.value.field == field
    assert error.value.message.startswith(sentence)


def test_each_scheduler_has_a_name_there_that_leads_back_to_it() -> None:
    for scheduler in SCHEDULERS:
        sampler, label = described(scheduler)
        assert sampler in {one.name for one in SAMPLERS}
        assert label in SCHEDULES.values()
        assert choose(sampler, label, NAMES).scheduler == scheduler
