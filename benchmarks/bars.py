"""The bars: what is aimed at, and whether it was reached."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

RIVALS = {"ray_serve_batch": 1.5, "bentoml_example": 2.0}  # goodput of ours over theirs
SEVERAL_RIVAL = "ray_serve_models"
PEAK_SHARE = 0.9
RIVAL_ON_RAY = "ray_serve_batch"


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure with a bound; None where it was not measured in this run."""

    name: str
    value: float | None
    bound: float
    at_least: bool

    @property
    def reached(self) -> bool | None:
        if self.value is None:
            return None
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    @property
    def aim(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "reached": self.reached}


def bars(report: dict[str, Any]) -> list[Bar]:
    """All bars, of a report in the form of ``docs/benchmark.json``."""
    solo = report.get("concurrency_1") or {}
    return [
        Bar("one client: engine / bare loop, latency", solo.get("engine"), 1.05, False),
        Bar("one client: HTTP / bare loop, latency", solo.get("http"), 1.10, False),
        *_mixed(report),
        *_several(report),
        Bar(
            "impatient: work for clients who had left",
            _figure(report, "ours", "impatient", "wasted_steps"),
            0.03,
            False,
        ),
        *_overload(report),
    ]


def host_bars(more_ms: float, goodput: Mapping[str, float]) -> list[Bar]:
    """The bars of the Ray host.

    Args:
        more_ms: milliseconds that one client waits longer there than on BentoML, the median.
        goodput: pictures per second of 16 clients, by contestant.
    """

    def ratio(other: str) -> float | None:
        return round(goodput["ours_on_ray"] / goodput[other], 4) if goodput[other] else None

    return [
        Bar("one client: ms more on Ray than on BentoML", round(more_ms, 1), 20, False),
        Bar("mixed, 16 clients: goodput on Ray / on BentoML", ratio("ours"), 0.9, True),
        Bar(f"mixed, 16 clients: goodput on Ray / {RIVAL_ON_RAY}", ratio(RIVAL_ON_RAY), 1.8, True),
    ]


def _mixed(report: dict[str, Any]) -> Iterator[Bar]:
    for rival, bound in RIVALS.items():
        ratio = _ratio(report, rival, "mixed", "goodput")
        yield Bar(f"mixed, 16 clients: goodput / {rival}", ratio, bound, True)
    for rival in RIVALS:
        ratio = _ratio(report, rival, "mixed", "short_p50")
        yield Bar(f"mixed, 16 clients: p50 of short requests / {rival}", ratio, 0.5, False)
    useful = _figure(report, "ours", "mixed", "useful_slot_steps")
    yield Bar("mixed: useful / total slot-steps", useful, 0.95, True)


def _several(report: dict[str, Any]) -> Iterator[Bar]:
    for own, how in (("ours", ""), ("ours_compiled", ", SD_COMPILE=openvino")):
        for figure, name, bound, at_least in (
            ("goodput", "goodput", 1.5, True),
            ("short_p50", "p50 of short requests", 0.5, False),
        ):
            ratio = _ratio(report, SEVERAL_RIVAL, "several", figure, own)
            bar = f"several, 16 clients{how}: {name} / {SEVERAL_RIVAL}"
            yield Bar(bar, ratio, bound, at_least)


def _overload(report: dict[str, Any]) -> Iterator[Bar]:
    for figure, name in (("server_errors", "5xx answers"), ("timeouts", "timeouts")):
        yield Bar(f"overload: {name}", _figure(report, "ours", "overload", figure), 0, False)
    refused = _figure(report, "ours", "overload", "refused")
    told = _figure(report, "ours", "overload", "retry_after")
    share = None if refused is None or told is None else (told / refused if refused else 1.0)
    yield Bar("overload: share of the refused with Retry-After", share, 1.0, True)
    goodput = _figure(report, "ours", "overload", "goodput")
    peak = _figure(report, "ours", "mixed", "goodput")
    share = round(goodput / peak, 4) if goodput is not None and peak else None
    yield Bar("overload: goodput / that of 16 clients", share, PEAK_SHARE, True)


def _figure(report: dict[str, Any], contestant: str, workload: str, name: str) -> float | None:
    value = report["contestants"].get(contestant, {}).get(workload, {}).get(name)
    return None if value is None else float(value)


def _ratio(
    report: dict[str, Any], rival: str, workload: str, name: str, ours: str = "ours"
) -> float | None:
    own, other = (_figure(report, each, workload, name) for each in (ours, rival))
    return round(own / other, 4) if own is not None and other else None
