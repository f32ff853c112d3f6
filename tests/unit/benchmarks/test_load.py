"""The load generator against a small real server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from io import BytesIO
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from aiohttp import web

from benchmarks.load import Log, Outcome, Plan, drive
from benchmarks.workloads import WORKLOADS

Handler = Callable[[dict[str, Any]], Awaitable[web.Response]]


def png(side: int) -> bytes:
    file = BytesIO()
    PIL.Image.new("RGB", (side, side)).save(file, format="PNG")
    return file.getvalue()


async def a_picture(body: dict[str, Any]) -> web.Response:
    return web.Response(body=png(body["width"]), content_type="image/png")


class Site:
    """Answers both endpoints with ``handler``, and counts."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.bodies: list[dict[str, Any]] = []
        self.pictures = 0
        self.now = self.most = 0
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        if request.path == "/img2img":
            form = await request.post()
            data = form["data"]
            assert isinstance(data, bytearray)
            body = json.loads(data)
            upload = form["img"]
            assert isinstance(upload, web.FileField)
            assert PIL.Image.open(upload.file).size == (body["width"], body["height"])
            self.pictures += 1
        else:
            body = await request.json()
        self.bodies.append(body)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return await self.handler(body)
        finally:
            self.now -= 1


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[Site]:
    site = Site(handler)
    app = web.Application()
    app.router.add_post("/txt2img", site.answer)
    app.router.add_post("/img2img", site.answer)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    await listener.start()
    host, port = runner.addresses[0][:2]
    site.url = f"http://{host}:{port}"
    try:
        yield site
    finally:
        await runner.cleanup()


def run(handler: Handler, **plan: Any) -> tuple[Log, Site]:
    async def both() -> tuple[Log, Site]:
        async with serving(handler) as site:
            return await drive(Plan(url=site.url, **{"seconds": 30.0, **plan})), site

    return asyncio.run(both())


def test_the_closed_loop_keeps_its_clients_busy() -> None:
    async def slow(body: dict[str, Any]) -> web.Response:
        await asyncio.sleep(0.05)
        return await a_picture(body)

    log, site = run(slow, workload="mixed", clients=4, limit=20)
    assert [record.outcome for record in log.records] == [Outcome.PICTURE] * 20
    assert site.most == 4
    sent = {body["seed"] for body in site.bodies}
    assert sent == {record.seed for record in log.records}
    assert site.pictures == sum("strength" in body for body in site.bodies) > 0
    assert all(record.latency >= 0.05 for record in log.records)


def test_refusals_and_errors_are_told_apart() -> None:
    answers = iter(
        [
            web.Response(status=429, headers={"Retry-After": "3"}),
            web.Response(status=429),
            web.Response(status=503, text="later"),
            web.Response(body=b"not a picture", content_type="image/png"),
            web.Response(body=png(32), content_type="image/png"),
        ]
    )

    async def moody(body: dict[str, Any]) -> web.Response:
        return next(answers)

    log, _ = run(moody, workload="uniform", clients=5, limit=5)
    records = sorted(log.records, key=lambda record: (record.status or 0, record.outcome))
    outcomes = [record.outcome for record in records]
    assert outcomes == [Outcome.ERROR] * 2 + [Outcome.REFUSED] * 2 + [Outcome.ERROR]
    assert sum(record.retry_after for record in records) == 1
    reasons = {record.reason for record in records if record.outcome is Outcome.ERROR}
    assert "later" in reasons
    assert "a PNG of 32 x 32 pixels" in reasons


def test_the_impatient_leave_and_the_server_notices() -> None:
    gone: list[int] = []

    async def for_ever(body: dict[str, Any]) -> web.Response:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            gone.append(body["seed"])
            raise
        return await a_picture(body)

    kinds = {f"{steps} steps, {side} px" for steps in (10, 20, 50) for side in (64, 96)}
    log, _ = run(
        for_ever,
        workload="impatient",
        clients=20,
        limit=20,
        timeout=0.5,
        usual=dict.fromkeys(kinds, 0.4),
    )
    left = [record for record in log.records if record.outcome is Outcome.LEFT]
    late = [record for record in log.records if record.outcome is Outcome.TIMEOUT]
    assert left
    assert late
    assert len(left) + len(late) == 20
    assert max(record.latency for record in left) < min(record.latency for record in late)
    assert sorted(gone) == sorted(log.departures())


def test_a_server_that_is_not_there_is_an_error() -> None:
    plan = Plan(url="http://127.0.0.1:9", workload="uniform", seconds=5, clients=1, limit=1)
    (record,) = asyncio.run(drive(plan)).records
    assert record.outcome is Outcome.ERROR
    assert record.status is None
    assert record.reason


def test_open_loop_arrivals_are_a_poisson_process() -> None:
    plan = Plan(url="", workload="mixed", seconds=500.0, rate=4.0)
    times = [time for time, _ in plan.arrivals()]
    assert times == [time for time, _ in plan.arrivals()]
    assert len(times) == pytest.approx(2_000, rel=0.1)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    # The gaps of a Poisson process are exponential: as much spread as mean.
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert spread == pytest.approx(mean, rel=0.1)


def test_open_loop_clients_do_not_wait_for_each_other() -> None:
    async def slow(body: dict[str, Any]) -> web.Response:
        await asyncio.sleep(2)
        return await a_picture(body)

    log, site = run(slow, workload="mixed", rate=100.0, seconds=0.3)
    assert len(log.records) > 5
    assert site.most == len(log.records)


def test_no_more_than_so_many_are_open_and_the_others_are_counted() -> None:
    async def for_ever(body: dict[str, Any]) -> web.Response:
        await asyncio.sleep(60)
        return await a_picture(body)

    changes = {"side": 32, "model": "other"}
    log, site = run(
        for_ever, workload="uniform", rate=50.0, seconds=0.5, timeout=1.5, most_open=3,
        changes=changes,
    )  # fmt: skip
    outcomes = [record.outcome for record in log.records]
    assert outcomes.count(Outcome.TIMEOUT) == 3
    assert outcomes.count(Outcome.UNSENT) == len(outcomes) - 3 > 0
    assert [(body["width"], body["model"]) for body in site.bodies] == [(32, "other")] * 3


def test_a_plan_is_carried_out_by_a_process_of_its_own(tmp_path: Path) -> None:
    async def both() -> Log:
        async with serving(a_picture) as site:
            plan = Plan(url=site.url, workload="uniform", seconds=30, clients=2, limit=4)
            orders, answers = tmp_path / "plan.json", tmp_path / "log.json"
            orders.write_text(json.dumps(asdict(plan)))
            command = [sys.executable, "-m", "benchmarks.load", str(orders), str(answers)]
            await asyncio.to_thread(subprocess.run, command, check=True)
            return Log.read(answers)

    log = asyncio.run(both())
    numbers = {request.seed for request in islice(WORKLOADS["uniform"].requests(1), 4)}
    assert {record.seed for record in log.records} == numbers
    assert {record.outcome for record in log.records} == {Outcome.PICTURE}
