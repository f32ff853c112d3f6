"""The cells of a grid: each is an order of its own, a few of them under way at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from io import BytesIO
from typing import Any, Final

from PIL import Image

from ui.prediction import Prediction
from ui.refusal import Refusal
from ui.session import Session
from ui.sheet import Place, fitted

# Enough for the engine to take them together, and few to be given up when the visitor leaves.
_AT_ONCE: Final = 8
# Where there is no room for an order, it is sent again so often.
_TRIES: Final = 6
_MOST_SECONDS: Final = 20.0


class Cells:
    """Makes them.

    Args:
        session: of the visitor.
        wanted: the fields of the API of each cell, by column and row.

    Attributes:
        pictures: those that are finished, no larger than the sheet has room for.
        notes: of those that failed, why.
    """

    def __init__(self, session: Session, wanted: Mapping[Place, Mapping[str, Any]]) -> None:
        self.pictures: dict[Place, Image.Image] = {}
        self.notes: dict[Place, str] = {}
        self._session = session
        self._wanted = wanted
        self._shares: dict[Place, float] = {}
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._columns = 1 + max(column for column, _ in wanted)
        self._rows = 1 + max(row for _, row in wanted)

    @property
    def count(self) -> int:
        """How many they are."""
        return len(self._wanted)

    @property
    def share(self) -> float:
        """How much of the work is done, 0 to 1."""
        return sum(self._shares.values()) / len(self._wanted)

    async def make(self, ended: asyncio.Event, seconds: float) -> AsyncGenerator[bool, None]:
        """Make them, and look every so many seconds.

        Args:
            ended: gives up what is not finished, once it is set.
            seconds: between two looks.

        Yields:
            Whether one has been finished since the last look.

        Raises:
            Refusal: what the service says of the first that it does not take, or that fails where
                none is finished.
        """
        tasks = {asyncio.create_task(self._cell(place)) for place in self._wanted}
        end = asyncio.create_task(ended.wait())
        pending, done_before = set(tasks), 0
        try:
            while pending and not end.done():
                await asyncio.wait({*pending, end}, timeout=seconds, return_when="FIRST_COMPLETED")
                done = {task for task in pending if task.done()}
                pending -= done
                for task in done:
                    task.result()
                finished = len(self.pictures) + len(self.notes)
                yield finished > done_before
                done_before = finished
        finally:
            end.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self.notes and not self.pictures:
            raise Refusal(next(iter(self.notes.values())))

    async def _cell(self, place: Place) -> None:
        async with self._places:
            identifier = self._session.new_id()
            prediction = await self._ordered(place, identifier)
            try:
                prediction = await self._watched(place, prediction)
            finally:
                if not prediction.is_over:
                    await asyncio.shield(self._give_up(identifier))
            if not prediction.outputs:
                self.notes[place] = prediction.error or "It was cancelled."
                return
            data = await self._session.output(identifier, prediction.outputs[0].index)
            self.pictures[place] = await asyncio.to_thread(self._fitted, data)

    async def _ordered(self, place: Place, identifier: str) -> Prediction:
        for _ in range(_TRIES):
            try:
                return await self._sent(place, identifier)
            except Refusal as refusal:
                if refusal.retry_after is None:
                    raise
                await asyncio.sleep(min(refusal.retry_after, _MOST_SECONDS))
        return await self._sent(place, identifier)

    async def _sent(self, place: Place, identifier: str) -> Prediction:
        order = asyncio.create_task(self._session.order(self._wanted[place], identifier=identifier))
        try:
            return await asyncio.shield(order)
        except asyncio.CancelledError:
            # It may have been accepted already, and nobody has heard of it.
            await asyncio.gather(order, return_exceptions=True)
            await self._give_up(identifier)
            raise

    async def _watched(self, place: Place, prediction: Prediction) -> Prediction:
        async for event in self._session.watch(prediction.id):
            if event.name == "progress":
                # The end comes with the file.
                self._shares[place] = 0.95 * event.data["step"] / event.data["total"]
            elif event.name == "completed":
                prediction = Prediction.of(event.data)
        self._shares[place] = 1.0
        return prediction

    def _fitted(self, data: bytes) -> Image.Image:
        with Image.open(BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture:
            return fitted(picture, self._columns, self._rows)

    async def _give_up(self, identifier: str) -> None:
        """Cancel it, and leave nothing of it in the history."""
        try:
            await self._session.cancel(identifier)
            await self._session.delete(identifier)
        except Refusal:
            # It ends without us, then.
            return
