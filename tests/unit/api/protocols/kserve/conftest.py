"""An application with KServe's protocols beside the native one."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from api.classifier import BoundedClassifier
from api.pictures import Pictures
from api.protocols.base import Protocols
from api.protocols.kserve.protocol import KServeProtocol
from api.protocols.native.protocol import NativeProtocol
from settings import Settings
from tests.unit.api.conftest import ColourBackend, ShadeClassifier


@pytest.fixture
def protocols(backend: ColourBackend, classifier: ShadeClassifier, settings: Settings) -> Protocols:
    pictures = Pictures(backend, settings)
    bounded = BoundedClassifier(classifier, settings, pictures.decoders)
    return Protocols(
        [
            NativeProtocol(pictures, settings, bounded),
            KServeProtocol(pictures, settings, bounded, backend.ready),
        ]
    )


def tensor(name: str, value: Any, datatype: str = "BYTES") -> dict[str, Any]:
    """A tensor with its elements in the JSON."""
    data = value if isinstance(value, list) else [value]
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data}


def infer(client: TestClient, *tensors: dict[str, Any], model: str = "tiny", **fields: Any) -> Any:
    """The response to an inference request whose body is JSON."""
    return client.post(f"/v2/models/{model}/infer", json={"inputs": list(tensors), **fields})


def outputs(response: Any) -> dict[str, list[Any]]:
    """The data of the outputs in a JSON response, by name."""
    assert response.status_code == 200, response.text
    return {one["name"]: one["data"] for one in response.json()["outputs"]}


def error_of(response: Any) -> dict[str, str]:
    """The error of a response."""
    body = response.json()
    assert isinstance(body["error"], str)
    assert body["request_id"] == response.headers["x-request-id"]
    return dict(body)
