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
from tests.unit.api.conftest import ColourBackend


@pytest.fixture
def protocols(
    backend: ColourBackend, settings: Settings, pictures: Pictures, bounded: BoundedClassifier
) -> Protocols:
    """KServe's and OpenAI's, beside the native one."""
    return Protocols(
        [
            NativeProtocol(pictures, settings, bounded),
            KServeProtocol(pictures, settings, bounded, backend.ready),
            OpenAIProtocol(pictures, settings, bounded, backend.ready),
        ]
    )
