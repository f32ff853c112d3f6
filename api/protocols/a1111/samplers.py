"""The samplers and schedules of the web UI, and the scheduler that a pair of them stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from api.errors import out_of_range
from models.architectures import SCHEDULERS, SchedulerName

AUTOMATIC: Final = "automatic"


@dataclass(frozen=True, slots=True)
class Sampler:
    """A sampler by its name there.

    Attributes:
        name: as its clients show it.
        aliases: other names for it.
        schedules: the scheduler for each schedule of the noise; with ``automatic`` alone it takes
            no other, there as here, and what is asked for has no effect.
        default: the schedule that ``automatic`` stands for, where that has a name.
    """

    name: str
    aliases: tuple[str, ...]
    schedules: Mapping[str, SchedulerName]
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen.

    Attributes:
        scheduler: None for the model's default.
        ignored: why the schedule that was asked for makes no difference; empty where it does.
    """

    scheduler: SchedulerName | None
    ignored: str = ""


def _alone(scheduler: SchedulerName) -> Mapping[str, SchedulerName]:
    return MappingProxyType({AUTOMATIC: scheduler})


def _uniform(scheduler: SchedulerName, **others: SchedulerName) -> Mapping[str, SchedulerName]:
    return MappingProxyType({AUTOMATIC: scheduler, "uniform": scheduler, **others})


SAMPLERS: Final = (
    Sampler(
        "DPM++ 2M",
        ("k_dpmpp_2m",),
        MappingProxyType(
            {
                AUTOMATIC: "dpmpp_2m_karras",
                "karras": "dpmpp_2m_karras",
                "uniform": "dpmpp_2m",
            }
        ),
        default="karras",
    ),
    Sampler("Euler a", ("k_euler_a", "k_euler_ancestral"), _uniform("euler_a")),
    Sampler("Euler", ("k_euler",), _uniform("euler", sgm_uniform="euler_trailing")),
    Sampler("Heun", ("k_heun",), _uniform("heun")),
    Sampler("LCM", ("k_lcm",), _uniform("lcm")),
    Sampler("DDIM", (), _alone("ddim")),
    Sampler("PLMS", (), _alone("pndm")),
    Sampler("UniPC", (), _alone("unipc")),
)
# By their names and labels there. The others of the web UI stand for none of our schedulers.
SCHEDULES: Final[Mapping[str, str]] = MappingProxyType(
    {
        AUTOMATIC: "Automatic",
        "uniform": "Uniform",
        "karras": "Karras",
        "sgm_uniform": "SGM Uniform",
    }
)


def choose(sampler: str | None, schedule: str | None, names: tuple[str, str]) -> Choice:
    """The scheduler for a sampler and a schedule, by any of their names.

    Args:
        sampler: None or an empty one for the model's default; one of our schedulers' names, or the
            name of a sampler with that of a schedule behind it, is one too.
        schedule: None or an empty one for ``automatic``.
        names: what the client calls the two.

    Raises:
        RequestError: OUT_OF_RANGE for an unknown one, and for a schedule that the sampler does not
            have.
    """
    wanted = _schedule(schedule or AUTOMATIC, names[1])
    if not sampler:
        if wanted != AUTOMATIC:
            raise out_of_range(names[1], f"automatic where there is no {names[0]}", schedule)
        return Choice(None)
    found, own = _by_name(sampler, names[0])
    if isinstance(found, str):
        if wanted == AUTOMATIC:
            return Choice(found)
        return Choice(found, f"the sampler {found} has the schedule that its name says")
    if wanted == AUTOMATIC:
        wanted = own or AUTOMATIC
    if wanted in found.schedules:
        return Choice(found.schedules[wanted])
    if len(found.schedules) == 1:
        return Choice(found.schedules[AUTOMATIC], f"{found.name} has a schedule of its own")
    listed = ", ".join(found.schedules)
    raise out_of_range(names[1], f"one of {listed} with the sampler {found.name}", schedule)


def described(scheduler: str) -> tuple[str, str]:
    """The sampler and the schedule, as its clients show them, that a scheduler is known by."""
    for sampler in SAMPLERS:
        for schedule, name in sampler.schedules.items():
            # ``automatic`` comes first; where it stands for another one, that one says more.
            if name == scheduler and (schedule != AUTOMATIC or sampler.default is None):
                return sampler.name, SCHEDULES[schedule]
    raise ValueError(f"no sampler stands for {scheduler}")


def _schedule(name: str, field: str) -> str:
    for known, label in SCHEDULES.items():
        if name.lower() in {known, label.lower(), known.replace("_", "")}:
            return known
    raise out_of_range(field, f"one of {', '.join(SCHEDULES)}", name)


def _by_name(name: str, field: str) -> tuple[Sampler | SchedulerName, str | None]:
    """A sampler and the schedule that its name has at its end; or one of our schedulers."""
    wanted = name.lower()
    for sampler in SAMPLERS:
        for known in (sampler.name, *sampler.aliases):
            if wanted == known.lower():
                return sampler, None
            for schedule, label in SCHEDULES.items():
                ends = {f"{known} {label}".lower(), f"{known}_{schedule}".lower()}
                if schedule in sampler.schedules and wanted in ends:
                    return sampler, schedule
    for scheduler in SCHEDULERS:
        if wanted == scheduler:
            return scheduler, None
    listed = ", ".join(sampler.name for sampler in SAMPLERS)
    raise out_of_range(field, f"one of {listed}", name)
