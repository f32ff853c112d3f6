"""The ledger: quotas of a day hold across processes and restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from api.keys import usage as counting
from api.keys.key import new_key
from api.keys.ledger import Ledger
from api.keys.metering import Metering
from api.keys.usage import Usage
from api.predictions.database import Database
from contract.errors import ErrorCode, RequestError
from tests.conftest import make_request
from tests.unit.api.predictions.conftest import opened

_, KEY = new_key("anna", pictures_per_day=5)


class Process:
    """What a process knows of the keys."""

    def __init__(self, database: Database) -> None:
        self.usage = Usage()
        self.metering = Metering(self.usage)
        self.reached = True
        self._given = database
        self.ledger = Ledger(self.usage, self._database)

    def take(self, pictures: int) -> None:
        self.metering.take(KEY, make_request(num_images=pictures))

    async def _database(self) -> Database:
        if not self.reached:
            raise RequestError(ErrorCode.NOT_READY, "away", retry_after=0.01)
        return self._given


def test_what_one_process_has_counted_counts_for_all(url: str) -> None:
    async def story() -> None:
        async with opened(url) as store:
            here, there = Process(store.database), Process(store.database)
            await here.ledger.start()
            here.take(3)
            here.metering.take_request(KEY)
            await here.ledger.close()
            await there.ledger.exchange()
            with pytest.raises(RequestError, match="5 pictures in 86400 seconds; 2 are left"):
                there.take(3)
            there.take(1)
            # What is counted while others are read, is not forgotten.
            await asyncio.gather(there.ledger.exchange(), here.ledger.exchange())
            there.metering.give_back(KEY, make_request(num_images=1))
            assert there.metering.left(KEY)["pictures"].remaining == 2
            await there.ledger.exchange()
            again = Process(store.database)
            await again.ledger.start()
            assert again.metering.left(KEY)["pictures"].remaining == 2
            assert again.metering.used(KEY.id).requests == 1
            await again.ledger.close()

    asyncio.run(story())


def test_nothing_is_lost_while_the_store_is_away(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(f"sqlite:///{tmp_path}/one.sqlite") as store:
            here = Process(store.database)
            here.reached = False
            await here.ledger.start()
            here.take(4)
            with pytest.raises(RequestError):
                await here.ledger.exchange()
            assert here.metering.left(KEY)["pictures"].remaining == 1
            here.reached = True
            other = Process(store.database)
            while other.metering.used(KEY.id).pictures < 4:
                await asyncio.sleep(0.01)
                await other.ledger.exchange()
            await here.ledger.close()
            await other.ledger.exchange()
            assert other.metering.used(KEY.id).pictures == 4

    asyncio.run(story())


def test_days_are_counted_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with opened(f"sqlite:///{tmp_path}/one.sqlite") as store:
            here = Process(store.database)
            here.take(5)
            day = counting.today()
            monkeypatch.setattr(counting, "today", lambda: day + 1)
            monkeypatch.setattr("api.keys.ledger.today", lambda: day + 1)
            here.take(2)
            await here.ledger.exchange()
            assert here.metering.used(KEY.id).pictures == 2
            monkeypatch.setattr("api.keys.ledger.today", lambda: day)
            monkeypatch.setattr(counting, "today", lambda: day)
            before = Process(store.database)
            await before.ledger.exchange()
            assert before.metering.used(KEY.id).pictures == 5

    asyncio.run(story())
