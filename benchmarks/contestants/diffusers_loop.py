"""The bare loop: diffusers, one picture after another, without a server and a queue.

``python -m benchmarks.contestants.diffusers_loop PLAN LOG`` takes the load generator's plan and
writes its kind of log. The closed loop has one client here. In the open loop requests wait in
a list; a client that has given up by then is still served, as the loop does not know.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from time import monotonic, sleep

import PIL.Image

from benchmarks.contestants.stock import Order, Stock, png
from benchmarks.load import Log, Outcome, Plan, Record
from benchmarks.workloads import WORKLOADS, Request

WARM_UP = 4


def work_off(plan: Plan, stock: Stock) -> Log:
    """Make the pictures of the plan."""
    log = Log(monotonic(), [])
    for arrival, request in _source(plan):
        now = monotonic() - log.start
        if arrival is None:
            if now > plan.seconds:
                break
            arrival = now
        elif now > plan.seconds + plan.timeout:
            # All clients have given up, and the round is over.
            log.records.append(_given_up(request, arrival, plan))
            continue
        sleep(max(0.0, arrival - now))
        draw(stock, request)
        done = monotonic() - log.start
        if done - arrival > plan.patience(request):
            log.records.append(_given_up(request, arrival, plan))
        else:
            log.records.append(
                Record.of(request, sent=arrival, done=done, outcome=Outcome.PICTURE, status=200)
            )
    return log


def draw(stock: Stock, request: Request) -> bytes:
    """One picture, as a PNG."""
    source = None
    if request.strength is not None:
        source = PIL.Image.open(BytesIO(request.picture()))
    (picture,) = stock.draw([Order.of(request.body(), source)])
    return png(picture)


def _source(plan: Plan) -> Iterator[tuple[float | None, Request]]:
    if plan.rate is None:
        return ((None, request) for request in plan.requests())
    return iter(plan.arrivals())


def _given_up(request: Request, arrival: float, plan: Plan) -> Record:
    outcome = Outcome.LEFT if request.leaves_at else Outcome.TIMEOUT
    done = arrival + plan.patience(request)
    return Record.of(request, sent=arrival, done=done, outcome=outcome)


def main() -> None:
    """Carry out the plan in the first file, write the log to the second."""
    plan = Plan(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    stock = Stock.from_environment()
    for request in islice(WORKLOADS["mixed"].requests(2), WARM_UP):
        draw(stock, request)
    stock.forget()
    work_off(plan, stock).write(Path(sys.argv[2]))


if __name__ == "__main__":
    main()
