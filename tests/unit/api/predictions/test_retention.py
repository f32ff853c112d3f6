"""The retention: what is deleted, in which order, and what never is."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from api.predictions.prediction import Prediction, Status
from api.predictions.predictions import Predictions
from contract.errors import ErrorCode, RequestError
from tests.conftest import make_request
from tests.unit.api.conftest import ColourBackend
from tests.unit.api.predictions.conftest import make_order, running


async def _done(here: Predictions, request_size: int = 0) -> Prediction:
    order = make_order()
    if request_size:
        request = make_request(model="tiny", init_image=b"0" * request_size, strength=0.5)
        order = replace(order, request=request)
    accepted, _ = await here.accept(order)
    return await here.wait(accepted, 30)


def test_pictures_go_first_and_predictions_later(usual_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        times = {"picture_seconds": 1, "prediction_seconds": 2}
        async with running(usual_url, tmp_path, ColourBackend(), **times) as here:
            done = await _done(here, 12288)
            assert len(list((tmp_path / "pictures").rglob("*.*"))) == 1
            await asyncio.sleep(1.1)
            await here._retention.apply()
            kept = await here.find(done.id, "anna")
            assert (kept.status, kept.removed_at is None) == (Status.SUCCEEDED, False)
            with pytest.raises(RequestError) as refused:
                await here.picture(kept, 0)
            assert refused.value.code is ErrorCode.GONE
            assert not [path for path in (tmp_path / "pictures").rglob("*") if path.is_file()]
            await asyncio.sleep(1.1)
            await here._retention.apply()
            with pytest.raises(RequestError) as refused:
                await here.find(done.id, "anna")
            assert refused.value.code is ErrorCode.NOT_FOUND

    asyncio.run(story())


def test_above_the_quota_the_oldest_that_is_over_goes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/one.sqlite"
    size = 400 * 1024

    async def story() -> None:
        backend = ColourBackend()
        async with running(url, tmp_path, backend, store_bytes=1024**2) as here:
            first = await _done(here, size)
            second = await _done(here, size)
            backend.hold = asyncio.Event()
            request = make_request(model="tiny", init_image=b"0" * size, strength=0.5)
            unfinished, _ = await here.accept(replace(make_order(), request=request))
            await here._retention.apply()
            gone = [
                (await here.find(one.id, None)).removed_at is not None
                for one in (first, second, unfinished)
            ]
            assert gone == [True, False, False]
            backend.hold.set()
            assert (await here.wait(unfinished, 30)).status is Status.SUCCEEDED

    asyncio.run(story())


def test_files_of_no_one_are_swept(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/one.sqlite"

    async def story() -> None:
        backend = ColourBackend()
        async with running(url, tmp_path, backend) as here:
            done = await _done(here, 12288)
            backend.hold = asyncio.Event()
            waiting, _ = await here.accept(make_order())
            await here._files.put(f"{'0' * 32}/input", b"of a process that died")
            await here._files.put(f"{done.folder}/{'1' * 32}-0.png", b"of a lost lease")
            await here._files.put(f"{waiting.folder}/{'1' * 32}-0.png", b"of a lost lease")
            for path in (tmp_path / "pictures").rglob("*"):
                os.utime(path, (1, 1))
            young = f"{'2' * 32}/input"
            await here._files.put(young, b"just written")
            assert await here._retention.sweep(60) == 3
            left = {one.key async for one in here._files.all()}
            assert left == {young, f"{done.folder}/input", done.outputs[0].key}

    asyncio.run(story())
