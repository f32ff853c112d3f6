"""Leases: one holder at a time, turns among tenants, and what happens when a holder is silent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from api.predictions.claims import Claim
from api.predictions.intake import Intake
from api.predictions.prediction import Status
from contract.errors import ErrorCode
from tests.unit.api.predictions.conftest import Opened, make_order, opened


async def _accept(here: Opened, count: int, tenant: str = "anna", **options: Any) -> list[str]:
    accepts = [here.intake.accept(make_order(tenant, **options), f"{n}") for n in range(count)]
    return [(await one)[0].id for one in accepts]


def test_several_hosts_never_take_the_same(url: str) -> None:
    async def story() -> None:
        async with opened(url) as here, opened(url) as there:
            accepted = await _accept(here, 40)
            taken: list[str] = []

            async def take(host: Opened) -> None:
                while leased := await host.leases.take(["tiny"], 3):
                    taken.extend(one.prediction.id for one in leased)

            while len(taken) < 40:
                await asyncio.gather(*(take(host) for host in (here, there, here, there)))
            assert sorted(taken) == sorted(accepted)

    asyncio.run(story())


def test_the_order_is_by_priority_then_tenants_in_turns(url: str) -> None:
    async def story() -> None:
        async with opened(url) as here:
            low = await _accept(here, 1, "anna", priority=-1)
            greedy = await _accept(here, 4, "anna")
            modest = await _accept(here, 2, "bert")
            taken = await here.leases.take(["tiny"], 3)
            assert [one.prediction.id for one in taken] == [greedy[0], modest[0], greedy[1]]
            # With two of hers running, it is his turn.
            (following,) = await here.leases.take(["tiny"], 1)
            assert following.prediction.id == modest[1]
            rest = await here.leases.take(["tiny"], 9)
            assert [one.prediction.id for one in rest] == [*greedy[2:], *low]

    asyncio.run(story())


def test_a_new_one_overtakes_only_what_is_less_urgent(url: str) -> None:
    """Where those that can begin are leased as others are accepted."""

    async def story() -> None:
        async with opened(url) as here:
            claims: list[Claim] = []

            @asynccontextmanager
            async def claiming() -> AsyncIterator[Claim]:
                claims.append(here.leases.claim(["tiny"], 1))
                yield claims[-1]

            eager = Intake(here.database, claiming)
            (low,) = await _accept(here, 1, priority=-1)
            (first,) = await _accept(here, 1)
            (others,) = await _accept(here, 1, "bert")
            accepted = [await eager.accept(make_order(), f"{n}") for n in range(4)]
            assert [one.status for one, _ in accepted] == [Status.STARTING] * 4
            taken = [leased.prediction.id for claim in claims for leased in claim.leased]
            # Of hers one runs after the first claim, so that the second one goes to him.
            assert taken == [first, others, accepted[0][0].id, accepted[1][0].id]
            rest = await here.leases.take(["tiny"], 9)
            assert [one.prediction.id for one in rest] == [*(a.id for a, _ in accepted[2:]), low]

    asyncio.run(story())


def test_only_models_that_are_served_here(url: str) -> None:
    async def story() -> None:
        async with opened(url) as here:
            await here.intake.accept(make_order(model="large"), "f")
            assert await here.leases.take(["tiny"], 9) == []
            assert len(await here.leases.take(["tiny", "large"], 9)) == 1

    asyncio.run(story())


def test_a_silent_holder_loses_its_lease_and_its_result(url: str) -> None:
    async def story() -> None:
        async with opened(url, lease=0.2) as here:
            await _accept(here, 1)
            (dead,) = await here.leases.take(["tiny"], 1)
            assert await here.leases.take(["tiny"], 1) == []
            await here.leases.reclaim()
            assert await here.leases.take(["tiny"], 1) == []  # not yet
            await asyncio.sleep(0.3)
            assert await here.leases.reclaim() == []
            (alive,) = await here.leases.take(["tiny"], 1)
            assert alive.prediction.attempts == 2
            number, ended = dead.prediction.number, {"status": Status.SUCCEEDED}
            assert await here.store.end(number, ended, dead.lease) is None
            assert await here.leases.renew({(number, dead.lease): (1, 2)}) == set()
            assert await here.leases.renew({(number, alive.lease): (1, 2)}) == {number}
            assert await here.store.end(number, ended, alive.lease) is not None

    asyncio.run(story())


def test_what_kills_its_process_again_and_again_ends(url: str) -> None:
    async def story() -> None:
        async with opened(url, lease=0.05, attempts=2) as here:
            (identifier,) = await _accept(here, 1)
            for _ in range(2):
                assert len(await here.leases.take(["tiny"], 1)) == 1
                await asyncio.sleep(0.1)
                ended = await here.leases.reclaim()
            assert [one.id for one in ended] == [identifier]
            assert (ended[0].status, ended[0].error_code) == (Status.FAILED, ErrorCode.INTERNAL)
            assert ended[0].error == "the process that ran it has died 2 times"

    asyncio.run(story())


def test_a_release_is_taken_again_later_and_need_not_count(url: str) -> None:
    async def story() -> None:
        async with opened(url) as here:
            await _accept(here, 1)
            (leased,) = await here.leases.take(["tiny"], 1)
            await here.leases.release(leased, 0.3, counts=False)
            assert await here.leases.take(["tiny"], 1) == []
            await asyncio.sleep(0.35)
            (again,) = await here.leases.take(["tiny"], 1)
            assert again.prediction.attempts == 1

    asyncio.run(story())


def test_what_cannot_begin_in_time_fails(url: str) -> None:
    async def story() -> None:
        async with opened(url) as here:
            (timed,) = await _accept(here, 1, start_timeout=0.05)
            (bound,) = await _accept(here, 1, deadline=60.0)
            await asyncio.sleep(0.1)
            (leased,) = await here.leases.take(["tiny"], 9)
            assert leased.prediction.id == bound
            assert leased.left is not None
            assert 50 < leased.left <= 60
            (ended,) = await here.leases.reclaim()
            assert (ended.id, ended.error_code) == (timed, ErrorCode.DEADLINE_EXCEEDED)
            assert ended.completed_at is not None
            assert abs(ended.completed_at - time.time()) < 60

    asyncio.run(story())
