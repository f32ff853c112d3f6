"""The engine and the classifier in the process of the API."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from assembly.composition import compose
from assembly.local import LocalBackend, LocalClassifier
from assembly.worker import Worker
from contract.errors import ErrorCode, RequestError
from contract.events import Event, Failed, Image, Queued
from contract.observer import NullObserver
from contract.request import LoraUse
from models import registry
from models.catalog import load_catalog
from models.finetuned import Provenance
from models.vit import EMBEDDED, read_vit
from settings import Settings
from tests import uploads
from tests.conftest import make_request
from tests.loras import save_lora


async def events(backend: LocalBackend, **fields: Any) -> list[Event]:
    return [event async for event in backend.generate(make_request(**fields))]


def test_it_generates_with_loras_that_come_until_it_is_closed(store: Path, tmp_path: Path) -> None:
    """In one test: the measurements of an engine are those of its process."""
    composition = compose(Settings())
    worker = Worker(
        composition.settings, composition.entries, composition.placement, NullObserver()
    )
    backend = LocalBackend(worker, composition.models, composition.loras)
    provenance = Provenance(base="embedded", base_revision="1", licence="mine")
    folder = save_lora(tmp_path / "lora")

    async def run() -> None:
        assert await backend.ready()
        first, *_, plain = await events(backend, num_inference_steps=2)
        assert first == Queued(0)
        assert isinstance(plain, Image)

        tag = registry.register("clay", "lora", folder, provenance, load_catalog()).tag
        assert not backend.loras
        await backend.refresh()
        assert [lora.tag for lora in backend.loras] == [tag]
        own = (await events(backend, num_inference_steps=2, loras=(LoraUse(tag),)))[-1]
        assert isinstance(own, Image)
        assert own.data != plain.data
        (unknown,) = await events(backend, loras=(LoraUse("clay:none"),))
        assert isinstance(unknown, Failed)
        assert unknown.code is ErrorCode.NOT_FOUND

        running = asyncio.create_task(events(backend, num_inference_steps=150, width=384))
        await asyncio.sleep(0.2)
        await backend.close(0)
        failed = (await running)[-1]
        assert isinstance(failed, Failed)
        assert failed.code is ErrorCode.NOT_READY
        assert not await backend.ready()
        (refused,) = await events(backend)
        assert isinstance(refused, Failed)
        assert refused.code is ErrorCode.NOT_READY

    asyncio.run(run())


def test_the_classifier_scores_and_keeps_to_its_deadline() -> None:
    vit = read_vit(EMBEDDED)
    pixels = uploads.red_and_blue().resize((vit.width, vit.height)).tobytes()
    classifier = LocalClassifier(vit, deadline=60)

    async def together() -> list[Any]:
        return await asyncio.gather(*(classifier.scores(pixels) for _ in range(8)))

    for scores in asyncio.run(together()):
        assert len(scores) == len(vit.labels)
        assert sum(scores) == pytest.approx(1, abs=1e-4)
    with pytest.raises(RequestError) as raised:
        asyncio.run(LocalClassifier(vit, deadline=0).scores(pixels))
    assert raised.value.code is ErrorCode.DEADLINE_EXCEEDED
