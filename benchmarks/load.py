"""The load generator, a process of its own: ``python -m benchmarks.load PLAN LOG``.

The plan is a JSON file that the benchmark wrote, the log has a record for each request.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import PIL.Image

from benchmarks.profiles import PROFILES
from benchmarks.workloads import WARM_UPS, WORKLOADS, Request

PAUSE = 1.0  # seconds that a client of the closed loop waits after a response without a picture


class Outcome(StrEnum):
    """What a client got."""

    PICTURE = "picture"  # a PNG of the right size
    LEFT = "left"  # it did not wait for the end
    REFUSED = "refused"  # 429
    TIMEOUT = "timeout"
    ERROR = "error"  # any other response, a broken picture, a lost connection
    UNSENT = "unsent"  # as many were open as may be


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One round of load.

    Attributes:
        url: the server, without a trailing slash.
        workload: a name out of ``WORKLOADS``, or of one of ``WARM_UPS``.
        changes: fields of its requests (``Request``) that are others here.
        seconds: how long clients come.
        clients: of the closed loop.
        rate: arrivals per second of the open loop, at its highest; None for the closed loop.
        profile: of the open loop: a name out of ``PROFILES``.
        most_open: requests of the open loop that may be open at a time; more are not sent.
        headers: that go with each request.
        timeout: seconds a client waits for its picture.
        usual: seconds that a picture usually takes here, by ``Request.kind``; clients who leave
            go by it.
        limit: no more requests than that.
    """

    url: str
    workload: str
    seconds: float
    seed: int = 1
    clients: int = 16
    rate: float | None = None
    profile: str = "steady"
    most_open: int | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 60.0
    usual: dict[str, float] = field(default_factory=dict)
    limit: int | None = None

    def requests(self) -> Iterator[Request]:
        """What the clients ask for, in order."""
        known = WORKLOADS | {workload.name: workload for workload in WARM_UPS.values()}
        for request in known[self.workload].requests(self.seed):
            if self.limit is not None and request.number >= self.limit:
                return
            yield replace(request, **self.changes)

    def patience(self, request: Request) -> float:
        """Seconds after which the client stops to wait."""
        if request.leaves_at is None:
            return self.timeout
        return min(self.timeout, request.leaves_at * self.usual[request.kind])

    def arrivals(self) -> Iterator[tuple[float, Request]]:
        """The open loop's requests, each with its seconds since the start."""
        if self.rate is None:
            raise ValueError("an open loop needs a rate")
        times = PROFILES[self.profile].times(self.rate, self.seconds, self.seed)
        return zip(times, self.requests(), strict=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """How one request went; times are seconds since the start of the round.

    Attributes:
        row_steps: what its picture takes of the denoiser.
        retry_after: whether the response had that header.
        reason: of an error.
    """

    number: int
    seed: int
    kind: str
    steps: int
    row_steps: int
    sent: float
    done: float
    outcome: Outcome
    status: int | None = None
    retry_after: bool = False
    reason: str | None = None

    @property
    def latency(self) -> float:
        return self.done - self.sent

    @classmethod
    def of(
        cls,
        request: Request,
        *,
        sent: float,
        done: float,
        outcome: Outcome,
        status: int | None = None,
        retry_after: bool = False,
        reason: str | None = None,
    ) -> Record:
        return cls(
            number=request.number,
            seed=request.seed,
            kind=request.kind,
            steps=request.steps,
            row_steps=request.row_steps,
            sent=sent,
            done=done,
            outcome=outcome,
            status=status,
            retry_after=retry_after,
            reason=reason,
        )


@dataclass(frozen=True, slots=True)
class Log:
    """All records of a round, and when it started (``time.monotonic()``)."""

    start: float
    records: list[Record]

    def departures(self) -> dict[int, float]:
        """When clients left without a response, by the seeds of their requests."""
        gone = (Outcome.LEFT, Outcome.TIMEOUT)
        return {
            record.seed: self.start + record.done
            for record in self.records
            if record.outcome in gone
        }

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Log:
        """Read what ``write`` wrote."""
        log = json.loads(path.read_text(encoding="utf-8"))
        records = [
            Record(**{**fields, "outcome": Outcome(fields["outcome"])}) for fields in log["records"]
        ]
        return cls(log["start"], records)


async def drive(plan: Plan) -> Log:
    """Send the plan's requests and wait for the last response."""
    # A connection for each request: no client inherits one that the server is about to close.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, headers=plan.headers) as session:
        crowd = _Crowd(plan, session)
        if plan.rate is None:
            await crowd.closed_loop()
        else:
            await crowd.open_loop()
        return crowd.log


class _Crowd:
    def __init__(self, plan: Plan, session: aiohttp.ClientSession) -> None:
        self._plan = plan
        self._session = session
        self._start = monotonic()
        self._open = 0
        self.log = Log(self._start, [])

    async def closed_loop(self) -> None:
        requests = self._plan.requests()

        async def client() -> None:
            for request in requests:
                if monotonic() - self._start > self._plan.seconds:
                    return
                record = await self._ask(request)
                if record.outcome not in (Outcome.PICTURE, Outcome.LEFT):
                    await asyncio.sleep(PAUSE)

        async with asyncio.TaskGroup() as clients:
            for _ in range(self._plan.clients):
                clients.create_task(client())

    async def open_loop(self) -> None:
        async with asyncio.TaskGroup() as clients:
            for time, request in self._plan.arrivals():
                await asyncio.sleep(max(0.0, self._start + time - monotonic()))
                if self._plan.most_open is None or self._open < self._plan.most_open:
                    self._open += 1
                    clients.create_task(self._ask(request)).add_done_callback(self._close)
                else:
                    at = monotonic() - self._start
                    record = Record.of(request, sent=at, done=at, outcome=Outcome.UNSENT)
                    self.log.records.append(record)

    def _close(self, _: asyncio.Task[Record]) -> None:
        self._open -= 1

    async def _ask(self, request: Request) -> Record:
        timeout = self._plan.patience(request)
        sent = monotonic()
        status: int | None = None
        retry_after = False
        reason: str | None = None
        try:
            async with asyncio.timeout(timeout), self._post(request) as response:
                status = response.status
                retry_after = "Retry-After" in response.headers
                body = await response.read()
            if status == 200:
                reason = _flaw(body, request)
                outcome = Outcome.ERROR if reason else Outcome.PICTURE
            else:
                outcome = Outcome.REFUSED if status == 429 else Outcome.ERROR
                reason = body[:200].decode("utf-8", "replace")
        except TimeoutError:
            outcome = Outcome.LEFT if request.leaves_at else Outcome.TIMEOUT
        except aiohttp.ClientError as error:
            outcome = Outcome.ERROR
            reason = repr(error)
        record = Record.of(
            request,
            sent=sent - self._start,
            done=monotonic() - self._start,
            outcome=outcome,
            status=status,
            retry_after=retry_after,
            reason=reason,
        )
        self.log.records.append(record)
        return record

    def _post(self, request: Request) -> aiohttp.client._RequestContextManager:
        if request.strength is None:
            return self._session.post(f"{self._plan.url}/txt2img", json=request.body())
        form = aiohttp.FormData()
        form.add_field("img", request.picture(), filename="in.png", content_type="image/png")
        form.add_field("data", json.dumps(request.body()), content_type="application/json")
        return self._session.post(f"{self._plan.url}/img2img", data=form)


def _flaw(body: bytes, request: Request) -> str | None:
    """What is wrong with a picture, or None."""
    try:
        picture = PIL.Image.open(BytesIO(body))
        picture.load()
    except (OSError, ValueError) as error:
        return f"not a picture: {error}"
    if picture.format != "PNG" or picture.size != (request.side, request.side):
        return f"a {picture.format} of {picture.width} x {picture.height} pixels"
    return None


def main() -> None:
    """Carry out the plan in the first file, write the log to the second."""
    plan = Plan(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    asyncio.run(drive(plan)).write(Path(sys.argv[2]))


if __name__ == "__main__":
    main()
