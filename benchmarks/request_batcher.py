"""A batcher of whole requests, as most servers have one: the engine's batching by the step is
compared with it."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, Self

from benchmarks.contestants.stock import Order, Stock


class RequestBatcher:
    """Takes what waits, up to ``size`` requests, and makes them in as few calls of the pipeline as
    they allow."""

    def __init__(self, stock: Stock, size: int) -> None:
        self._stock = stock
        self._size = size
        self._waiting: SimpleQueue[tuple[Order, Future[Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._loop)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.put(None)
        self._thread.join()

    def draw(self, order: Order) -> object:
        picture: Future[Any] = Future()
        self._waiting.put((order, picture))
        return picture.result()

    def _loop(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first]
            while len(batch) < self._size:
                try:
                    # As short a wait as Ray's and BentoML's: for those that come together.
                    another = self._waiting.get(timeout=0.01)
                except Empty:
                    break
                if another is None:
                    self._waiting.put(None)
                    break
                batch.append(another)
            self._answer(batch)

    def _answer(self, batch: list[tuple[Order, Future[Any]]]) -> None:
        try:
            pictures = self._stock.draw_all([order for order, _ in batch])
        except Exception as error:
            for _, waiting in batch:
                waiting.set_exception(error)
            return
        for (_, waiting), picture in zip(batch, pictures, strict=True):
            waiting.set_result(picture)
