"""The calibration: what a request costs the real engine, learnt from how long its clients wait."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from benchmarks.load import Log, Outcome, Plan, Record
from benchmarks.simulation.target import Unusable
from benchmarks.workloads import Request

CLIENTS = (1, 2, 4, 8)  # in turn
LEAST = 20  # pictures
WARM_UPS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTimes:
    """What one engine takes, in seconds.

    Attributes:
        request: beside the engine's own time: the way there and back, and the file.
        picture: of the engine, to encode and decode a picture.
        step: of a denoiser pass, whatever is in it.
        row: of each row of a pass, if it has the model's own size.
        own_pixels: those of a picture of that size.
        error: how far off the pictures are that they were learnt from, as a share; the median.
        pictures: how many those are.
    """

    request: float
    picture: float
    step: float
    row: float
    own_pixels: int
    error: float
    pictures: int

    def rows(self, request: Request) -> float:
        """Rows of a request in a pass, in those of the model's own size."""
        return request.rows * request.side**2 / self.own_pixels

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, fields: dict[str, Any]) -> Self:
        """What ``to_json`` made; raises ``Unusable`` if it is something else."""
        try:
            return cls(**fields)
        except TypeError:
            raise Unusable("the file has service times of another kind") from None


def calibrate(
    plan: Plan,
    own_pixels: int,
    seconds: float,
    carry_out: Callable[[Plan], Log],
    replicas: int = 1,
) -> ServiceTimes:
    """Measure a deployment, with 1, 2, 4 and 8 clients for each engine in turn.

    Args:
        plan: whose requests are sent.
        own_pixels: of a picture of the model's own size.
        seconds: of all of it, about.
        carry_out: runs a plan.
        replicas: how many engines there are, and share the work evenly.

    Raises:
        Unusable: there were too few pictures.
    """
    closed = replace(plan, rate=None, profile="steady", timeout=max(plan.timeout, seconds))
    carry_out(replace(closed, seconds=seconds, clients=2 * replicas, limit=WARM_UPS * replicas))
    each = replace(closed, seconds=seconds / len(CLIENTS))
    rounds = [
        carry_out(replace(each, clients=clients * replicas, seed=clients)) for clients in CLIENTS
    ]
    requests = [replace(closed, seed=clients).requests() for clients in CLIENTS]
    pairs = [
        list(_paired(log.records, sequence)) for log, sequence in zip(rounds, requests, strict=True)
    ]
    return fit(pairs, own_pixels, replicas)


def _paired(
    records: Iterable[Record], requests: Iterator[Request]
) -> Iterator[tuple[Request, Record]]:
    by_number = {record.number: record for record in records}
    for request in itertools.islice(requests, max(by_number, default=-1) + 1):
        if request.number in by_number:
            yield request, by_number[request.number]


def fit(
    rounds: Sequence[Sequence[tuple[Request, Record]]], own_pixels: int, replicas: int = 1
) -> ServiceTimes:
    """Find the times that explain the latencies best, none of them below 0.

    A picture is in as many passes as it has evaluations. Each of them has the rows of all who are
    there at the time, and the others' pictures are encoded and decoded in between:

    latency = request + evaluations x (step + row x rows in the pass) + picture x pictures meanwhile

    Args:
        rounds: of each the requests, and how they went.
        replicas: over how many the requests were spread.

    Raises:
        Unusable: there are too few pictures.
    """
    blank = ServiceTimes(
        request=0, picture=0, step=0, row=0, own_pixels=own_pixels, error=0, pictures=0
    )
    equations: list[tuple[float, ...]] = []
    latencies: list[float] = []
    for pairs in rounds:
        rows = np.array([blank.rows(request) for request, _ in pairs])
        sent = np.array([record.sent for _, record in pairs])
        done = np.array([record.done for _, record in pairs])
        for request, record in pairs:
            if record.outcome is not Outcome.PICTURE:
                continue
            together = np.clip(
                np.minimum(done, record.done) - np.maximum(sent, record.sent), 0, None
            )
            present = float((rows * together).sum()) / record.latency / replicas
            pictures = float((together / np.maximum(done - sent, 1e-9)).sum()) / replicas
            evaluations = request.evaluations
            equations.append((1.0, pictures, evaluations, evaluations * present))
            latencies.append(record.latency)
    if len(latencies) < LEAST:
        raise Unusable(
            f"{len(latencies)} pictures came in the calibration, {LEAST} are needed: give it more "
            "seconds, or smaller pictures"
        )
    known = np.array(latencies)
    # Relative errors: a short request counts as much as a long one.
    matrix = np.array(equations) / known[:, None]
    times = _non_negative(matrix, np.ones(len(known)))
    off = np.abs(matrix @ times - 1)
    return replace(
        blank,
        request=float(times[0]),
        picture=float(times[1]),
        step=float(times[2]),
        row=float(times[3]),
        error=float(np.median(off)),
        pictures=len(known),
    )


def _non_negative(
    matrix: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The least squares without negative values: the best of those with any columns left out."""
    columns = matrix.shape[1]
    best, least = np.zeros(columns), float(wanted @ wanted)
    for chosen in itertools.product((True, False), repeat=columns):
        some = np.flatnonzero(chosen)
        values = np.zeros(columns)
        if len(some):
            values[some] = np.linalg.lstsq(matrix[:, some], wanted, rcond=None)[0]
        residual = matrix @ values - wanted
        if (values >= 0).all() and float(residual @ residual) < least - 1e-12:
            best, least = values, float(residual @ residual)
    return best
