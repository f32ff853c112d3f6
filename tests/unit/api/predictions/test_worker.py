"""The worker: each prediction ends once, with its pictures, whatever happens to its holder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, update

from api.predictions.claims import Leased
from api.predictions.files import FilesFull
from api.predictions.prediction import Prediction, Status
from api.predictions.predictions import Predictions
from api.predictions.tables import PREDICTIONS
from contract.errors import ErrorCode, RequestError
from contract.events import Event, Failed
from contract.request import GenerationRequest
from tests.conftest import make_request
from tests.unit.api.conftest import ColourBackend
from tests.unit.api.predictions.conftest import make_order, make_predictions, running

SECONDS = 30.0


class Losing(ColourBackend):
    """Fails with a code after it has begun, or before, so many times."""

    def __init__(self, code: ErrorCode, times: int, begun: bool = True) -> None:
        super().__init__()
        self.code, self.times, self.begun = code, times, begun

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        events = super().generate(request)
        if self.times:
            self.times -= 1
            if self.begun:
                yield await anext(events)
            yield Failed(self.code, "lost")
            return
        async for event in events:
            yield event


async def _accepted(here: Predictions, **options: Any) -> Prediction:
    prediction, is_new = await here.accept(make_order(**options))
    assert is_new
    return prediction


async def _done(here: Predictions, prediction: Prediction) -> Prediction:
    done = await here.wait(prediction, SECONDS)
    assert done.status.is_over
    assert done == await here.find(prediction.id, "anna")
    return done


def test_it_succeeds_with_its_pictures(usual_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(usual_url, tmp_path, ColourBackend()) as here:
            order = make_order()
            several = replace(order, request=make_request(model="tiny", num_images=3))
            accepted, _ = await here.accept(several)
            done = await _done(here, accepted)
            assert done.status is Status.SUCCEEDED
            assert [(one.index, one.seed) for one in done.outputs] == [(0, 7), (1, 8), (2, 9)]
            for output in done.outputs:
                data = await here.read(output, 0, output.bytes)
                assert data.startswith(b"\x89PNG")
                assert len(data) == output.bytes

    asyncio.run(story())


def test_what_is_accepted_begins_without_another_look(
    usual_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are slots: it is leased in the transaction that writes it down."""

    async def story() -> None:
        backend = ColourBackend()
        async with running(usual_url, tmp_path, backend, prediction_slots=2) as here:
            await _done(here, await _accepted(here))
            looks = 0
            take = here._leases.take

            async def counted(models: Collection[str], limit: int) -> list[Leased]:
                nonlocal looks
                taken = await take(models, limit)
                looks += bool(taken)
                return taken

            monkeypatch.setattr(here._leases, "take", counted)
            for _ in range(3):
                await _done(here, await _accepted(here))
            assert looks == 0
            # What finds no slot is taken when there is one.
            backend.hold = asyncio.Event()
            several = [await _accepted(here) for _ in range(4)]
            assert len(here._worker._running) == 2
            backend.hold.set()
            for one in several:
                await _done(here, one)
            assert looks > 0
            assert len(backend.requests) == 8

    asyncio.run(story())


def test_what_is_not_written_down_is_not_begun(tmp_path: Path) -> None:
    """And what shares a transaction that is taken back, is begun once, in the next one."""

    async def story() -> None:
        backend = ColourBackend()
        async with running(f"sqlite:///{tmp_path}/one.sqlite", tmp_path, backend) as here:
            await _done(here, await _accepted(here))

            def faulty(connection: Connection) -> None:
                raise ValueError("mine")

            accepting = asyncio.create_task(here._intake.accept(make_order(id="mine"), "g"))
            writing = asyncio.create_task(here.database.write(faulty))
            mine, _ = await accepting
            with pytest.raises(ValueError, match="mine"):
                await writing
            done = await _done(here, mine)
            assert (done.status, done.attempts) == (Status.SUCCEEDED, 1)
            assert len(backend.requests) == 2

    asyncio.run(story())


def test_what_a_stopped_process_left_is_run_by_the_next(usual_url: str, tmp_path: Path) -> None:
    """With its input picture, and for the same seed. A stop does not count as an attempt."""

    async def story() -> None:
        stuck = ColourBackend()
        stuck.hold = asyncio.Event()
        pixels, mask = bytes(range(256)) * 48, b"\xff" * 64 * 64
        request = make_request(model="tiny", init_image=pixels, mask=mask, strength=0.5)
        async with running(usual_url, tmp_path, stuck) as here:
            accepted, _ = await here.accept(replace(make_order(), request=request))
            while not stuck.requests:
                await asyncio.sleep(0.01)
            closing = asyncio.create_task(here.finish(0.1))
            await closing
        working = ColourBackend()
        async with running(usual_url, tmp_path, working) as there:
            done = await _done(there, accepted)
            assert (done.status, done.attempts) == (Status.SUCCEEDED, 1)
        (run,) = working.requests
        assert (run.init_image, run.mask, run.seed) == (pixels, mask, request.seed)

    asyncio.run(story())


def test_a_lost_worker_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.predictions.execution._LOST_SECONDS", 0.1)

    async def story() -> None:
        url = f"sqlite:///{tmp_path}/one.sqlite"
        for code, begun, attempts in [
            (ErrorCode.NOT_READY, True, 2),
            (ErrorCode.NOT_READY, False, 1),
            (ErrorCode.BUSY, True, 1),
        ]:
            async with running(url, tmp_path, Losing(code, 1, begun)) as here:
                done = await _done(here, await _accepted(here))
                assert (done.status, done.attempts) == (Status.SUCCEEDED, attempts)

    asyncio.run(story())


def test_a_failure_is_the_end(tmp_path: Path) -> None:
    async def story() -> None:
        url = f"sqlite:///{tmp_path}/one.sqlite"
        for code, message in [
            (ErrorCode.CONTENT_POLICY_VIOLATION, "lost"),
            (ErrorCode.INTERNAL, "internal error"),
        ]:
            async with running(url, tmp_path, Losing(code, 9)) as here:
                done = await _done(here, await _accepted(here))
                assert (done.status, done.error_code, done.error) == (Status.FAILED, code, message)
                assert done.attempts == 1
        async with running(
            url, tmp_path, Losing(ErrorCode.NOT_READY, 9), prediction_attempts=1
        ) as here:
            done = await _done(here, await _accepted(here))
            assert (done.status, done.error_code) == (Status.FAILED, ErrorCode.NOT_READY)

    asyncio.run(story())


def test_a_cancellation_stops_the_work_at_once(usual_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        backend = ColourBackend()
        backend.hold = asyncio.Event()
        async with running(usual_url, tmp_path, backend) as here:
            accepted = await _accepted(here)
            while not backend.requests:
                await asyncio.sleep(0.01)
            canceled = await here.cancel(accepted)
            assert canceled.status is Status.CANCELED
            while not backend.cancelled:
                await asyncio.sleep(0.01)
            assert await here.cancel(accepted) == canceled
            assert await _done(here, accepted) == canceled

    asyncio.run(story())


def test_a_cancellation_on_another_host_stops_it_too(usual_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        backend = ColourBackend()
        backend.hold = asyncio.Event()
        async with (
            running(usual_url, tmp_path, backend, prediction_lease=2) as here,
            running(usual_url, tmp_path, ColourBackend(), prediction_slots=0) as there,
        ):
            accepted = await _accepted(there)
            while not backend.requests:
                await asyncio.sleep(0.01)
            await there.cancel(accepted)
            while not backend.cancelled:
                await asyncio.sleep(0.01)
            assert (await _done(here, accepted)).status is Status.CANCELED

    asyncio.run(story())


def test_one_that_waits_elsewhere_hears_of_the_end(
    usual_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if usual_url.startswith("postgresql"):
        # It is told, and need not look.
        monkeypatch.setattr("api.predictions.predictions._LOOK_SECONDS", 3600.0)

    async def story() -> None:
        async with (
            running(usual_url, tmp_path, ColourBackend()),
            running(usual_url, tmp_path, ColourBackend(), prediction_slots=0) as there,
        ):
            accepted = await _accepted(there)
            done = await asyncio.wait_for(there.wait(accepted, 3600), SECONDS)
            assert done.status is Status.SUCCEEDED

    asyncio.run(story())


def test_one_that_lost_its_lease_leaves_no_picture(usual_url: str, tmp_path: Path) -> None:
    """It goes on, as it does not know it, and its result is refused."""

    async def story() -> None:
        slow, quick = ColourBackend(), ColourBackend()
        slow.hold = asyncio.Event()
        # With no place for it to be taken by the same host again.
        async with running(usual_url, tmp_path, slow, prediction_slots=1) as here:
            accepted = await _accepted(here)
            while not slow.requests:
                await asyncio.sleep(0.01)
            await _expire(here, accepted)
            async with running(usual_url, tmp_path, quick, prediction_lease=2) as there:
                done = await _done(there, accepted)
            assert (done.status, done.attempts) == (Status.SUCCEEDED, 2)
            slow.hold.set()
            while here._worker._running:
                await asyncio.sleep(0.01)
            assert await here.find(accepted.id, "anna") == done
        files = [path.name for path in (tmp_path / "pictures").rglob("*.png")]
        assert files == [done.outputs[0].key.rpartition("/")[2]]

    asyncio.run(story())


def test_no_room_for_a_picture_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.predictions.execution._FULL_SECONDS", 0.1)

    async def story() -> None:
        here = make_predictions(f"sqlite:///{tmp_path}/one.sqlite", tmp_path, ColourBackend())
        put, full = here._files.put, [True, True]

        async def full_at_first(key: str, data: bytes) -> None:
            if full:
                full.pop()
                raise FilesFull("no space left on device")
            await put(key, data)

        monkeypatch.setattr(here._files, "put", full_at_first)
        await here.open()
        done = await _done(here, await _accepted(here))
        assert (done.status, done.attempts) == (Status.SUCCEEDED, 1)
        await here.finish(1)

    asyncio.run(story())


def test_the_limits_refuse_before_anything_is_written(tmp_path: Path) -> None:
    async def story() -> None:
        url = f"sqlite:///{tmp_path}/one.sqlite"
        limits = {"prediction_slots": 0, "max_predictions": 4, "max_predictions_per_client": 2}
        async with running(url, tmp_path, ColourBackend(), **limits) as here:
            first = await _accepted(here, id="first")
            await _accepted(here)
            with pytest.raises(RequestError, match="at most 2 predictions of one client"):
                await _accepted(here)
            # What is there already, is no new one.
            assert await here.accept(make_order(id="first")) == (first, False)
            for _ in range(2):
                await here.accept(make_order("bert"))
            with pytest.raises(RequestError, match="at most 4 predictions may wait"):
                await here.accept(make_order("carl"))
        for limits in ({"store_bytes": 1024**2}, {"store_free_bytes": 2**62}):
            async with running(url, tmp_path, ColourBackend(), **limits) as here:
                big = make_request(model="tiny", init_image=b"0" * 2 * 1024**2, strength=0.5)
                with pytest.raises(RequestError) as refused:
                    await here.accept(replace(make_order("dora"), request=big))
                assert refused.value.code is ErrorCode.STORAGE_FULL
        assert not list((tmp_path / "pictures").rglob("input"))

    asyncio.run(story())


async def _expire(here: Predictions, prediction: Prediction) -> None:
    """As if its holder had shown no life for long."""
    change = (
        update(PREDICTIONS).where(PREDICTIONS.c.number == prediction.number).values(lease_until=1.0)
    )

    def expired(connection: Connection) -> None:
        connection.execute(change)

    await here.database.write(expired)
