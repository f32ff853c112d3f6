"""What does not fit into the device is refused before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from assembly.fit import check_fit, working_bytes
from models.budget import model_footprint
from models.catalog import load_catalog
from models.errors import NotEnoughMemory
from models.identity import NO_IDENTITIES
from models.placement import Placement
from settings import Settings

CPU = Placement("cpu", "fp32")
ENTRY = load_catalog().get("embedded")
AGAIN = ENTRY.model_copy(update={"name": "again"})
WEIGHTS = model_footprint(ENTRY, CPU).total


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda size: monkeypatch.setattr("assembly.fit.device_memory", lambda device: size)


def test_a_model_and_a_picture_of_it_have_to_fit(memory: Callable[[int], None]) -> None:
    working = working_bytes(ENTRY, CPU, 1024**2)
    assert working > 0
    memory(WEIGHTS + working)
    check_fit(Settings(), [ENTRY], CPU, NO_IDENTITIES)
    memory(WEIGHTS + working - 1)
    with pytest.raises(NotEnoughMemory, match=r"embedded would take 22\.5 MB for weights, .*SD_"):
        check_fit(Settings(), [ENTRY], CPU, NO_IDENTITIES)


def test_several_may_take_turns(memory: Callable[[int], None]) -> None:
    memory(2 * WEIGHTS)
    with pytest.raises(NotEnoughMemory, match=r"With SD_MODEL_MEMORY=\d+MB they take turns"):
        check_fit(Settings(), [ENTRY, AGAIN], CPU, NO_IDENTITIES)
    check_fit(Settings(model_memory=WEIGHTS), [ENTRY, AGAIN], CPU, NO_IDENTITIES)
