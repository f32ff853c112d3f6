"""The store: what is accepted is written once, and what is over stays as it is."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import text

from api.predictions.outbox import DeliveryState
from api.predictions.prediction import Status
from api.predictions.store import Filter
from tests.unit.api.predictions.conftest import Opened, make_order, opened


def test_the_same_order_is_one_prediction(url: str) -> None:
    async def story() -> None:
        async with opened(url) as here:
            tries = [here.intake.accept(make_order(id="mine"), f"{n}") for n in range(8)]
            made = await asyncio.gather(*tries)
            assert sum(is_new for _, is_new in made) == 1
            assert len({one.number for one, _ in made}) == 1

            keyed = make_order(idempotency_key="k")
            first, is_new = await here.intake.accept(keyed, "a")
            again, is_new_again = await here.intake.accept(keyed, "b")
            other, _ = await here.intake.accept(replace(keyed, tenant="bert"), "c")
            assert (is_new, is_new_again) == (True, False)
            assert first.id == again.id != other.id
            assert await here.store.known(keyed) == again
            assert await here.store.known(make_order()) is None

    asyncio.run(story())


def test_what_is_over_never_changes(url: str) -> None:
    """Whoever is first ends it; the webhook is put down with that, once."""

    async def story() -> None:
        async with opened(url) as here:
            accepted, _ = await here.intake.accept(make_order(webhook="https://example.com/"), "f")
            (leased,) = await here.leases.take(["tiny"], 1)
            ends = [
                here.store.end(accepted.number, {"status": Status.SUCCEEDED}, leased.lease),
                here.store.end(accepted.number, {"status": Status.FAILED}, leased.lease),
                here.store.cancel(accepted),
            ]
            done = [one for one in await asyncio.gather(*ends) if one is not None]
            assert len(done) == 1
            assert await here.store.find(accepted.id) == done[0]
            await here.leases.release(leased, 0, counts=False)
            assert await here.leases.renew({(accepted.number, leased.lease): (1, 2)}) == set()
            assert await here.store.find(accepted.id) == done[0]
            deliveries = await here.outbox.page("anna", None, 9)
            assert [one.state for one in deliveries] == [DeliveryState.PENDING]
            assert await here.outbox.page("bert", None, 9) == []

    asyncio.run(story())


def test_a_page_has_the_latest_of_one_tenant(url: str) -> None:
    async def story() -> None:
        async with opened(url) as here:
            made = [(await here.intake.accept(make_order(), f"{n}"))[0] for n in range(5)]
            await here.intake.accept(make_order("bert"), "b")
            await here.store.cancel(made[3])
            first = await here.store.page("anna", Filter(), None, 2)
            assert [one.id for one in first] == [made[4].id, made[3].id]
            rest = await here.store.page("anna", Filter(), first[-1].number, 9)
            assert [one.id for one in rest] == [one.id for one in made[2::-1]]
            canceled = await here.store.page("anna", Filter(status=Status.CANCELED), None, 9)
            assert [one.id for one in canceled] == [made[3].id]
            assert await here.store.page("anna", Filter(model="none"), None, 9) == []
            later = Filter(created_after=made[2].created_at)
            assert {one.id for one in await here.store.page("anna", later, None, 9)} == {
                made[3].id,
                made[4].id,
            }
            assert await here.store.position(made[2]) == 2
            usage = await here.store.usage()
            assert usage.unfinished == {"anna": 4, "bert": 1}

    asyncio.run(story())


def test_a_search_finds_texts_in_prompts(url: str) -> None:
    async def story() -> None:
        async with opened(url) as here:
            prompts = ("a Red apple", "100% red_dish", "nul\0red", "\U0001f34e redder", "blue")
            for number, prompt in enumerate(prompts):
                order = make_order(id=f"a{number}")
                order = replace(order, input={"prompt": prompt, "negative_prompt": "Ugly"})
                await here.intake.accept(order, f"{number}")
            other = replace(make_order("bert", id="b-0"), input={"prompt": "red"})
            await here.intake.accept(other, "b")

            async def ids(**wanted: str) -> list[str]:
                found = await here.store.page("anna", Filter(**wanted), None, 9)  # type: ignore[arg-type]
                return sorted(one.id for one in found)

            assert await ids(search="RED") == ["a0", "a1", "a3"]
            assert await ids(search="d_d") == await ids(search="0%") == ["a1"]
            assert await ids(search="\U0001f34e") == ["a3"]
            assert await ids(search="ugly", id_prefix="a4") == ["a4"]
            assert await ids(search="seed") == await ids(id_prefix="A") == []
            assert await ids(id_prefix="a") == ["a0", "a1", "a2", "a3", "a4"]

    asyncio.run(story())


def test_secrets_are_the_same_for_all(url: str) -> None:
    async def story() -> None:
        async with opened(url) as here, opened(url) as there:
            assert await here.store.secret("a") == await there.store.secret("a")
            assert await here.store.secret("a") != await here.store.secret("b")
            assert len(await here.store.secret("a")) == 32

    asyncio.run(story())


def test_an_operation_that_fails_takes_only_itself_back(url: str) -> None:
    """Of those that share a transaction."""

    async def story() -> None:
        async with opened(url) as here:

            def faulty(connection: object) -> None:
                raise ValueError("mine")

            accepts = [here.intake.accept(make_order(), f"{n}") for n in range(4)]
            done = await asyncio.gather(
                *accepts, here.database.write(faulty), return_exceptions=True
            )
            assert isinstance(done[-1], ValueError)
            assert len(await here.store.page("anna", Filter(), None, 9)) == 4

    asyncio.run(story())


def test_sqlite_confirms_what_is_on_the_disk(url: str) -> None:
    async def story() -> None:
        async with opened(url) as here:
            if not here.database.on_one_host:
                pytest.skip("of SQLite")
            assert await _pragma(here, "journal_mode") == "wal"
            assert await _pragma(here, "synchronous") == 2  # FULL
            assert await _pragma(here, "foreign_keys") == 1

    asyncio.run(story())


async def _pragma(here: Opened, name: str) -> object:
    return await here.database.read(lambda connection: connection.scalar(text(f"PRAGMA {name}")))
