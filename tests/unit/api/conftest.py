"""A backend without an engine, and an application on top of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from api.app import create_app, middleware
from api.backend import ServedLora, ServedModel
from api.classifier import BoundedClassifier
from api.drain import Drain
from api.endpoints import Handler
from api.pictures import Pictures
from api.protocols.base import Protocols
from api.protocols.native.protocol import NativeProtocol
from api.served_models import ServedModels
from contract.events import Event, Failed, Image, Progress, Queued
from contract.model_state import Availability, ModelState
from contract.request import GenerationRequest
from contract.tenant_load import TenantLoad
from engine.stages.image_file import encode
from models.catalog import Defaults
from models.finetuned import Provenance
from models.vit import ViT
from settings import Settings
from tests.unit.api.validated import Validated

TINY = ServedModel(
    name="tiny",
    family="sd1",
    precision="fp32",
    description="Draws one colour",
    licence="Apache-2.0",
    tasks=("txt2img", "img2img", "inpaint"),
    multiple_of=8,
    defaults=Defaults(
        width=128,
        height=128,
        num_inference_steps=20,
        guidance_scale=4.0,
        strength=0.6,
        scheduler="ddim",
    ),
)


def make_lora(name: str, base: str = "tiny", memory: int = 1000, **fields: Any) -> ServedLora:
    """A LoRA; ``fields`` are those of its provenance."""
    common = {"base": base, "base_revision": "1234", "licence": "mine"}
    provenance = Provenance(**{**common, **fields})
    return ServedLora(name, f"{name}:v1", size=2000, memory=memory, provenance=provenance)


PREVIEW = b"\x89PNG, small"


class ColourBackend:
    """Makes one-coloured pictures, the last one first, and reports two steps for each.

    ``warnings`` and ``screening`` go with every picture. ``failure`` makes it fail after the steps,
    or at once if it is ``refused``; ``hold`` makes it wait before them, and counts who did not wait
    to the end. ``models`` and ``loras`` are what it says it has, ``loaded`` whether it is ready,
    ``changed`` the states of models that are not;
    ``arriving`` are LoRAs that the next refresh finds.
    """

    def __init__(self) -> None:
        self.requests: list[GenerationRequest] = []
        self.warnings: tuple[str, ...] = ()
        self.screening: tuple[str, ...] = ()
        self.failure: Failed | Exception | None = None
        self.refused = False
        self.hold: asyncio.Event | None = None
        self.cancelled = 0
        self.models: Sequence[ServedModel] = (TINY,)
        self.loras: Sequence[ServedLora] = ()
        self.arriving: Sequence[ServedLora] = ()
        self.refreshes = 0
        self.loaded = True
        self.changed: dict[str, ModelState] = {}

    async def learn(self) -> None:
        pass

    async def refresh(self) -> None:
        self.refreshes += 1
        self.loras = (*self.loras, *self.arriving)
        self.arriving = ()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        self.requests.append(request)
        if isinstance(self.failure, Failed) and self.refused:
            yield self.failure
            return
        try:
            yield Queued(0)
            if self.hold is not None:
                await self.hold.wait()
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise
        indices = range(request.num_images)[::-1]
        if request.wants_progress or request.wants_previews:
            preview = PREVIEW if request.wants_previews else None
            for step, index in product((1, 2), indices):
                yield Progress(step, 2, index, preview)
        if isinstance(self.failure, Exception):
            raise self.failure
        if self.failure is not None:
            yield self.failure
            return
        picture = PIL.Image.new("RGB", (request.width, request.height), "teal")
        data = encode(picture, request)
        media_type = request.output_format.media_type
        size = (request.width, request.height)
        for index in indices:
            seed = request.seed + index
            last = index == 0
            prompt = request.prompts[index] if request.prompts else request.prompt
            notes = (self.warnings, self.screening)
            yield Image(data, media_type, *size, seed, index, *notes, last, prompt)

    async def ready(self) -> bool:
        return self.loaded

    async def states(self) -> dict[str, ModelState]:
        return self.changed | {
            model.name: ModelState(Availability.READY)
            for model in self.models
            if self.loaded and model.name not in self.changed
        }

    async def tenants(self) -> dict[str, TenantLoad]:
        return {}

    async def load(self, name: str) -> None:
        if self.hold is not None:
            await self.hold.wait()
        self.changed.pop(name, None)

    async def unload(self, name: str) -> None:
        self.changed[name] = ModelState(Availability.UNAVAILABLE, "unloaded", unloaded=True)


class ShadeClassifier:
    """Tells dark from bright by the first pixel; ``hold`` makes it wait."""

    def __init__(self) -> None:
        self.vit = ViT(
            name="shades",
            folder=Path("shades"),
            labels=("dark", "grey", "bright"),
            width=2,
            height=1,
            resample=0,
            factor=1 / 255,
            mean=(0, 0, 0),
            std=(1, 1, 1),
        )
        self.hold: asyncio.Event | None = None
        self.failure: Exception | None = None

    async def ready(self) -> bool:
        return True

    async def scores(self, pixels: bytes) -> Sequence[float]:
        assert len(pixels) == 6
        if self.hold is not None:
            await self.hold.wait()
        if self.failure is not None:
            raise self.failure
        bright = pixels[0] / 255 * 0.8
        return [0.8 - bright, 0.2, bright]


def native_protocols(
    backend: Any, settings: Settings, classifier: ShadeClassifier | None = None
) -> Protocols:
    """The native protocol alone, with the classifier's endpoint if there is one."""
    pictures = Pictures(backend, settings)
    bounded = None
    if classifier is not None:
        bounded = BoundedClassifier(classifier, settings, pictures.decoders)
    return Protocols([NativeProtocol(pictures, settings, bounded)])


def handler_of(protocols: Protocols, name: str) -> Handler:
    """The handler of an endpoint, as a host gets it."""
    (handler,) = (one.handler for one in protocols.endpoints if one.name == name)
    return handler


def error_of(response: Any) -> dict[str, str]:
    """The native error of a response."""
    body = response.json()
    assert set(body) == {"error"}
    assert body["error"]["request_id"] == response.headers["x-request-id"]
    return dict(body["error"])


@pytest.fixture
def backend() -> ColourBackend:
    return ColourBackend()


@pytest.fixture
def settings() -> Settings:
    return Settings(max_body_bytes=1024 * 1024)


@pytest.fixture
def drain() -> Drain:
    return Drain()


@pytest.fixture
def classifier() -> ShadeClassifier:
    return ShadeClassifier()


@pytest.fixture
def pictures(backend: ColourBackend, settings: Settings) -> Pictures:
    return Pictures(backend, settings)


@pytest.fixture
def bounded(
    classifier: ShadeClassifier, settings: Settings, pictures: Pictures
) -> BoundedClassifier:
    return BoundedClassifier(classifier, settings, pictures.decoders)


@pytest.fixture
def protocols(backend: ColourBackend, classifier: ShadeClassifier, settings: Settings) -> Protocols:
    return native_protocols(backend, settings, classifier)


@pytest.fixture
def app(protocols: Protocols, settings: Settings, drain: Drain) -> FastAPI:
    app = create_app(protocols, "./static_content")
    app.user_middleware.extend(middleware(settings, drain, protocols))
    return app


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def validation(backend: ColourBackend, settings: Settings) -> Validated:
    return Validated(settings, ServedModels(backend, settings))
