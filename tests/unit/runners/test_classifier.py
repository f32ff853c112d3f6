"""What the API makes of the runner's answer; the runner itself is tested with the real server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import aiohttp
import numpy as np
import pytest
from bentoml.exceptions import ServiceUnavailable

from contract.errors import ErrorCode, RequestError
from models.vit import EMBEDDED, read_vit
from runners.classifier import RunnerClassifier

PIXELS = bytes(range(64)) * (64 * 3)


class Handle:
    """Stands where BentoML puts the runner's method."""

    def __init__(self, answer: Any) -> None:
        self.scores = self
        self._answer = answer

    async def async_run(self, batch: Any) -> Any:
        assert (batch.shape, batch.dtype, batch.tobytes()) == ((1, 64, 64, 3), np.uint8, PIXELS)
        if isinstance(self._answer, Exception):
            raise self._answer
        if self._answer is None:
            await asyncio.Event().wait()
        return self._answer


def scores(answer: Any) -> Sequence[float]:
    classifier = RunnerClassifier(Handle(answer), read_vit(EMBEDDED), deadline=0.05)
    return asyncio.run(classifier.scores(PIXELS))


def test_scores_are_a_row() -> None:
    assert scores(np.array([[0.25, 0.75]], np.float32)) == [0.25, 0.75]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (None, ErrorCode.DEADLINE_EXCEEDED),
        (np.full((1, 146), np.nan, np.float32), ErrorCode.INTERNAL),
        (ServiceUnavailable("Service Busy"), ErrorCode.NOT_READY),
        (aiohttp.ServerDisconnectedError(), ErrorCode.NOT_READY),
    ],
)
def test_failures_have_a_code(answer: Any, code: ErrorCode) -> None:
    with pytest.raises(RequestError) as raised:
        scores(answer)
    assert raised.value.code is code
