"""The timeline of a load: what came, what there was, and what became of it, over time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.load import Outcome, Record
from benchmarks.measures import figures, percentile
from benchmarks.simulation.observation import Sample
from benchmarks.work import Work

SLICES = 120  # at most; none is shorter than a second

Values = list[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Slices of equal length; None where nothing is known.

    Attributes:
        time: the middle of each, in seconds since the start.
        offered: requests that came, per second.
        pictures: that were delivered, per second.
        failed: refused, late, wrong or unsent, per second.
        p50: of the latencies of the pictures that were asked for then; likewise ``p95``.
        open: requests under way.
        replicas, nodes, waiting, running: see ``Sample``; means.
    """

    time: Values
    offered: Values
    pictures: Values
    failed: Values
    p50: Values
    p95: Values
    open: Values
    replicas: Values
    nodes: Values
    waiting: Values
    running: Values


def timeline(records: Sequence[Record], samples: Sequence[Sample], seconds: float) -> Timeline:
    """Cut a load into slices, the time after the last arrival included."""
    end = max([seconds, *(record.done for record in records)])
    count = int(max(1, min(SLICES, end)))
    length = end / count

    def sliced(pairs: Iterable[tuple[float, float]]) -> list[list[float]]:
        slices: list[list[float]] = [[] for _ in range(count)]
        for time, value in pairs:
            if 0 <= time <= end:
                slices[min(count - 1, int(time / length))].append(value)
        return slices

    def rate(times: Iterable[float]) -> Values:
        return [len(each) / length for each in sliced((time, 1.0) for time in times)]

    def mean(of: Callable[[Sample], float | None]) -> Values:
        known = [(one.time, value) for one in samples if (value := of(one)) is not None]
        return [sum(each) / len(each) if each else None for each in sliced(known)]

    pictures = [record for record in records if record.outcome is Outcome.PICTURE]
    latencies = sliced((record.sent, record.latency) for record in pictures)
    # The time that requests were under way in a slice, by its length.
    under_way = [0.0] * count
    for record in records:
        for index in range(int(record.sent / length), min(count, int(record.done / length) + 1)):
            start = index * length
            shared = min(record.done, start + length) - max(record.sent, start)
            under_way[index] += shared / length
    return Timeline(
        time=[(index + 0.5) * length for index in range(count)],
        offered=rate(record.sent for record in records),
        pictures=rate(record.done for record in pictures),
        failed=rate(one.done for one in records if one.outcome is not Outcome.PICTURE),
        p50=[percentile(each, 50) for each in latencies],
        p95=[percentile(each, 95) for each in latencies],
        open=list(under_way),
        replicas=mean(lambda one: one.replicas),
        nodes=mean(lambda one: one.nodes),
        waiting=mean(lambda one: one.waiting),
        running=mean(lambda one: one.running),
    )


def summary(
    name: str,
    records: Sequence[Record],
    samples: Sequence[Sample],
    seconds: float,
    rate: float,
    paid: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """A load in figures and slices, as ``simulation.json`` has it.

    Args:
        name: of the load, or of the fleet.
        seconds: how long clients came.
        rate: arrivals per second, at the highest.
        paid: seconds of replicas and of nodes; None where only the samples tell.
    """
    return {
        "name": name,
        "figures": {
            **figures(records, seconds, Work(), rate, ramp=0.0).to_json(),
            "replicas": _span([one.replicas for one in samples if one.time <= seconds]),
            "nodes": _span([one.nodes for one in samples if one.time <= seconds]),
            "replica_hours": None if paid is None else round(paid[0] / 3600, 4),
            "node_hours": None if paid is None else round(paid[1] / 3600, 4),
        },
        "timeline": {
            key: [None if value is None else round(value, 4) for value in values]
            for key, values in asdict(timeline(records, samples, seconds)).items()
        },
    }


def _span(numbers: Sequence[int | None]) -> dict[str, float] | None:
    known = [number for number in numbers if number is not None]
    if not known:
        return None
    return {"least": min(known), "mean": round(sum(known) / len(known), 3), "most": max(known)}
