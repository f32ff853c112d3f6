"""The protocols that share `/v1/models`."""

from __future__ import annotations

import pytest

from api.classifier import BoundedClassifier
from api.pictures import Pictures
from api.protocols.base import Protocols
from api.protocols.kserve.protocol import KServeProtocol
from api.protocols.native.protocol import NativeProtocol
from api.protocols.openai.protocol import OpenAIProtocol
from settings import Settings
from tests.unit.api.conftest import ColourBackend, ShadeClassifier


@pytest.fixture
def protocols(backend: ColourBackend, classifier: ShadeClassifier, settings: Settings) -> Protocols:
    """KServe's and OpenAI's, beside the native one."""
    pictures = Pictures(backend, settings)
    bounded = BoundedClassifier(classifier, settings, pictures.decoders)
    return Protocols(
        [
            NativeProtocol(pictures, settings, bounded),
            KServeProtocol(pictures, settings, bounded, backend.ready),
            OpenAIProtocol(pictures, settings, bounded, backend.ready),
        ]
    )
