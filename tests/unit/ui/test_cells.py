"""Cells of a grid, the visitor's own predictions, and files that are read: over the real API."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from contract.errors import ErrorCode
from contract.events import Failed
from tests.unit.api.conftest import ColourBackend
from tests.unit.ui.test_session import attempt
from ui.cells import Cells
from ui.refusal import Refusal
from ui.service import Service

GRID = {
    (column, row): {"prompt": "a pear", "seed": 10 * column + row, "num_inference_steps": 4}
    for column in range(4)
    for row in range(3)
}


def test_every_cell_is_the_picture_of_its_fields(backend: ColourBackend, tmp_path: Path) -> None:
    async def trial(service: Service) -> None:
        session = service.session(tag="anna")
        cells = Cells(session, GRID)
        looks = [is_new async for is_new in cells.make(asyncio.Event(), 0.05)]
        assert any(looks)
        assert cells.pictures.keys() == GRID.keys()
        assert (cells.share, cells.notes) == (1.0, {})
        assert {one.seed for one in backend.requests} == {one["seed"] for one in GRID.values()}
        assert len((await session.listing(limit=50)).predictions) == len(GRID)

    attempt(trial, backend, tmp_path)


def test_a_grid_that_is_given_up_leaves_no_work_behind(
    backend: ColourBackend, tmp_path: Path
) -> None:
    backend.hold = asyncio.Event()

    async def trial(service: Service) -> None:
        session = service.session(tag="anna")
        ended, cells = asyncio.Event(), Cells(session, GRID)
        async for _ in cells.make(ended, 0.05):
            if len(backend.requests) >= 8:
                ended.set()
        # No more than a few were under way.
        assert (cells.pictures, len(backend.requests), backend.cancelled) == ({}, 8, 8)
        assert (await session.listing()).predictions == ()

        # Likewise where the visitor has left.
        making = cells.make(asyncio.Event(), 0.05)
        await anext(making)
        while len(backend.requests) < 16:
            await asyncio.sleep(0.01)
        await making.aclose()
        assert (len(backend.requests), backend.cancelled) == (16, 16)
        assert (await session.listing()).predictions == ()

        # And where nobody has heard yet whether the orders are accepted.
        for seconds in (0.0, 0.01, 0.03):
            making = cells.make(asyncio.Event(), seconds)
            await anext(making)
            await making.aclose()
            assert backend.cancelled == len(backend.requests)
            assert (await session.listing()).predictions == ()

    attempt(trial, backend, tmp_path)


def test_what_the_service_refuses_ends_a_grid(backend: ColourBackend, tmp_path: Path) -> None:
    async def trial(service: Service) -> None:
        session = service.session(tag="anna")
        wrong = {**GRID, (3, 2): {"prompt": "a pear", "num_inference_steps": 1000}}
        with pytest.raises(Refusal, match="num_inference_steps must be") as caught:
            async for _ in Cells(session, wrong).make(asyncio.Event(), 0.05):
                pass
        assert caught.value.field == "num_inference_steps"

        backend.failure = Failed(ErrorCode.DEADLINE_EXCEEDED, "it took too long")
        with pytest.raises(Refusal, match="it took too long"):
            async for _ in Cells(session, GRID).make(asyncio.Event(), 0.05):
                pass

    attempt(trial, backend, tmp_path)


def test_visitors_see_and_search_their_own(backend: ColourBackend, tmp_path: Path) -> None:
    async def trial(service: Service) -> None:
        anna, bert = (service.session(tag=tag) for tag in ("anna", "bert"))
        for prompt in ("a red apple", "a pear", "RED wine"):
            await anna.order({"prompt": prompt})
        theirs = await bert.order({"prompt": "a red car"}, identifier=bert.id_of("car"))
        assert bert.id_of("car") == theirs.id != anna.id_of("car")

        page = await anna.listing(limit=2)
        rest = await anna.listing(limit=2, cursor=page.cursor)
        shown = [one.input["prompt"] for one in (*page.predictions, *rest.predictions)]
        assert (shown, rest.cursor) == (["RED wine", "a pear", "a red apple"], None)
        found = (await anna.listing(search="red")).predictions
        assert [one.input["prompt"] for one in found] == ["RED wine", "a red apple"]
        assert [one.id for one in (await bert.listing()).predictions] == [theirs.id]
        assert (await service.session().listing()).predictions == ()
        with pytest.raises(Refusal, match="no such picture of yours"):
            await anna.output(theirs.id, 0)

    attempt(trial, backend, tmp_path)


def test_what_is_read_from_a_file_makes_it_again(backend: ColourBackend, tmp_path: Path) -> None:
    async def trial(service: Service) -> None:
        session = service.session(tag="anna")
        for output_format in ("png", "jpeg", "webp"):
            wanted = {
                "prompt": "a (pear:1.2), ünï",
                "negative_prompt": "ugly",
                "seed": 7,
                "scheduler": "euler_a",
                "num_inference_steps": 4,
                "width": 72,
                "model": "tiny",
            }
            made = await session.order({**wanted, "output_format": output_format})
            async for _ in session.watch(made.id):
                pass
            reading = await session.read(await session.output(made.id, 0))
            assert wanted.items() <= reading.fields.items()
            assert reading.notes == ()
            assert reading.text.startswith("a (pear:1.2), ünï\n")
        with pytest.raises(Refusal, match="image must be a picture in one of the formats"):
            await session.read(b"GIF89a")

    attempt(trial, backend, tmp_path)
