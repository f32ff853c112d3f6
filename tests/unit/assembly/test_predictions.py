"""Predictions of the settings: where the store is, and what is said where it cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from api.predictions.errors import StoreUnusable
from assembly.measuring import Instrument
from assembly.predictions import opening
from contract.errors import ErrorCode, RequestError
from settings import Settings
from tests.unit.api.conftest import ColourBackend
from tests.unit.api.predictions.conftest import make_order


class _Instruments:
    """Keeps the last value of each series."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Instrument:
        def add(value: float, *given: str) -> None:
            key = (name, *given)
            self.values[key] = self.values.get(key, 0) + value

        return add

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Instrument:
        return lambda value, *given: self.values.__setitem__((name, *given), value)

    def histogram(
        self, name: str, text: str, labels: Sequence[str] = (), *, buckets: Sequence[float]
    ) -> Instrument:
        return self.counter(name, text, labels)


def test_the_newcomers_folder_is_made_when_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    instruments = _Instruments()

    async def story() -> None:
        found = opening(Settings(), ColourBackend(), lambda: instruments)
        assert found is not None
        await found.start()
        assert list(tmp_path.iterdir()) == []
        here = await found.get()
        accepted, _ = await here.accept(make_order())
        await here.wait(accepted, 30)
        await found.finish(1)
        await found.close()
        assert {one.name for one in (tmp_path / "state" / "stable-diffusion").iterdir()} >= {
            "pictures",
            "predictions.sqlite",
        }

    asyncio.run(story())
    assert instruments.values["sd_predictions_accepted",] == 1
    assert instruments.values["sd_predictions_ended", "succeeded"] == 1
    assert instruments.values["sd_predictions_running",] == 0


def test_without_a_folder_that_can_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A default that is not possible is no reason not to start; a setting is."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnusable, match="cannot be made: Not a directory"):
        opening(Settings(store=str(tmp_path / "file" / "store")), ColourBackend(), _Instruments)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))

    async def story() -> None:
        found = opening(Settings(), ColourBackend(), _Instruments)
        assert found is not None
        with pytest.raises(RequestError, match="SD_STORE names one") as refused:
            await found.get()
        assert refused.value.code is ErrorCode.NOT_READY
        await found.finish(0)
        await found.close()

    asyncio.run(story())


def test_settings_that_say_too_little() -> None:
    assert opening(Settings(store="none"), ColourBackend(), _Instruments) is None
    with pytest.raises(ValidationError, match="store_pictures must say"):
        Settings(store="postgresql+asyncpg://u@host/d")
    with pytest.raises(ValidationError, match="must not be below picture_seconds"):
        Settings(picture_seconds=10, prediction_seconds=5)
    with pytest.raises(ValidationError, match="store"):
        Settings(store="relative/folder")
