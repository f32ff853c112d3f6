"""PostgreSQL is killed while predictions are accepted and run, and started again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.predictions.prediction import Prediction, Status
from api.predictions.predictions import Predictions
from benchmarks.postgresql import PostgreSQL, programs
from contract.errors import ErrorCode, RequestError
from tests.effort import only_in_full
from tests.unit.api.conftest import ColourBackend
from tests.unit.api.predictions.conftest import make_order, running


@pytest.fixture
def server() -> Iterator[PostgreSQL]:
    """One that may be killed."""
    if programs() is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    server = PostgreSQL()
    yield server
    server.close()


@only_in_full
def test_a_killed_database_loses_nothing(
    server: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.predictions.database._PATIENCE", 0.5)

    async def accept(here: Predictions, number: int) -> Prediction:
        while True:
            try:
                return (await here.accept(make_order(id=f"p{number}")))[0]
            except RequestError as error:
                _check(error)

    async def story() -> None:
        url, backend = server.create("killed"), ColourBackend()
        limits = {"prediction_slots": 4, "prediction_lease": 2}
        async with running(url, tmp_path, backend, **limits) as here:
            accepting = [asyncio.create_task(accept(here, number)) for number in range(40)]
            while len(backend.requests) < 4:
                await asyncio.sleep(0.01)
            for _ in range(2):
                await asyncio.to_thread(server.kill)
                await asyncio.sleep(0.7)
                await asyncio.to_thread(server.start)
                await asyncio.sleep(0.2)
            accepted = await asyncio.gather(*accepting)
            assert len({one.number for one in accepted}) == 40
            for one in accepted:
                done = one
                while not done.status.is_over:
                    try:
                        done = await here.wait(done, 10)
                    except RequestError as error:
                        _check(error)
                assert done.status is Status.SUCCEEDED
                (output,) = done.outputs
                assert len(await here.read(output, 0, output.bytes)) == output.bytes

    asyncio.run(story())


def _check(error: RequestError) -> None:
    """It says nothing but that another time is better."""
    if error.code is not ErrorCode.NOT_READY:
        raise error
