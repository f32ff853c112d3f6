"""The figures of a round: rates, percentiles and shares out of its records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.load import Outcome, Record
from benchmarks.work import Work

RAMP = 0.15  # share of a round in which the clients' first requests do not count


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The figures of one round; seconds, and pictures per second.

    Latencies are those of delivered pictures that were asked for after the ramp. Where there are
    none they are None.

    Attributes:
        goodput: pictures that were delivered in time, per second between the end of the ramp and
            the time at which no more clients come.
        short_p50: median of the requests with the fewest steps of the workload.
        useful_slot_steps: share of the denoiser's row-steps that went into delivered pictures.
        abandoned_steps: share that went into requests that gave no picture, before and after their
            client had left or got an error.
        wasted_steps: share that was computed for a client that had left by then; a part of the
            former.
        padding: share that belonged to no request; with useful and abandoned it sums to 1.
        errors: responses other than a picture or a 429, timeouts, broken pictures.
        refused: responses with 429; of these with a Retry-After, ``retry_after``.
        unsent: what the load generator kept back, as too many were open.
    """

    goodput: float
    p50: float | None
    p95: float | None
    p99: float | None
    min: float | None
    max: float | None
    short_p50: float | None
    useful_slot_steps: float | None
    abandoned_steps: float | None
    wasted_steps: float | None
    padding: float | None
    errors: int
    error_reasons: dict[str, int]
    server_errors: int
    timeouts: int
    refused: int
    retry_after: int
    left: int
    unsent: int
    sent: int
    pictures: int
    seconds: float
    rate: float | None
    latency_by_class: dict[str, float]
    batch_sizes: dict[str, int]

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def figures(
    records: Sequence[Record],
    seconds: float,
    work: Work,
    rate: float | None = None,
    ramp: float = RAMP,
) -> Figures:
    """Summarise one round.

    Args:
        records: all requests.
        seconds: how long clients came.
        work: what the server computed in the round.
        rate: arrivals per second, of the open loop.
        ramp: share of the round in which the clients' first requests do not count.
    """
    ramp *= seconds
    pictures = [record for record in records if record.outcome is Outcome.PICTURE]
    in_time = [record for record in pictures if ramp <= record.done <= seconds]
    counted = [record for record in pictures if record.sent >= ramp]
    latencies = [record.latency for record in counted]
    fewest = min((record.steps for record in records), default=0)
    useful = sum(record.row_steps for record in pictures)
    failed = [record for record in records if record.outcome in (Outcome.ERROR, Outcome.TIMEOUT)]
    refused = [record for record in records if record.outcome is Outcome.REFUSED]
    return Figures(
        goodput=round(len(in_time) / (seconds - ramp), 4),
        p50=percentile(latencies, 50),
        p95=percentile(latencies, 95),
        p99=percentile(latencies, 99),
        min=percentile(latencies, 0),
        max=percentile(latencies, 100),
        short_p50=percentile((each.latency for each in counted if each.steps == fewest), 50),
        useful_slot_steps=_share(useful, work.row_steps),
        abandoned_steps=_share(work.row_steps - work.padding - useful, work.row_steps),
        wasted_steps=_share(work.wasted, work.row_steps),
        padding=_share(work.padding, work.row_steps),
        errors=len(failed),
        error_reasons=dict(Counter(_reason(record) for record in failed).most_common(8)),
        server_errors=sum(1 for record in failed if (record.status or 0) >= 500),
        timeouts=sum(1 for record in failed if record.outcome is Outcome.TIMEOUT),
        refused=len(refused),
        retry_after=sum(1 for record in refused if record.retry_after),
        left=sum(1 for record in records if record.outcome is Outcome.LEFT),
        unsent=(unsent := sum(1 for record in records if record.outcome is Outcome.UNSENT)),
        sent=len(records) - unsent,
        pictures=len(pictures),
        seconds=seconds,
        rate=None if rate is None else round(rate, 4),
        latency_by_class=median_by_class(counted),
        batch_sizes={str(size): count for size, count in sorted(work.passes.items())},
    )


def median_by_class(records: Iterable[Record]) -> dict[str, float]:
    """Median latency of the delivered pictures of each class."""
    kinds: dict[tuple[int, str], list[float]] = {}
    for record in records:
        if record.outcome is Outcome.PICTURE:
            kinds.setdefault((record.steps, record.kind), []).append(record.latency)
    return {kind: percentile(kinds[steps, kind], 50) or 0.0 for steps, kind in sorted(kinds)}


def percentile(values: Iterable[float], percent: float) -> float | None:
    """With linear interpolation between the neighbours; None without values."""
    known = list(values)
    return round(float(np.percentile(known, percent)), 4) if known else None


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _reason(record: Record) -> str:
    if record.outcome is Outcome.TIMEOUT:
        return "timeout"
    return f"{record.status or 'connection'}: {(record.reason or '')[:80]}"
