"""An application with the web UI's API beside the native protocol."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from typing import Any

import PIL.Image
import pytest
from starlette.testclient import TestClient

from api.classifier import BoundedClassifier
from api.pictures import Pictures
from api.protocols.a1111.protocol import WebUIProtocol
from api.protocols.base import Protocols
from api.protocols.native.protocol import NativeProtocol
from settings import Settings


@pytest.fixture
def protocols(settings: Settings, pictures: Pictures, bounded: BoundedClassifier) -> Protocols:
    return Protocols(
        [
            NativeProtocol(pictures, settings, bounded),
            WebUIProtocol(pictures, settings, bounded),
        ]
    )


def make(client: TestClient, kind: str = "txt2img", **fields: Any) -> dict[str, Any]:
    """The answer to a request, with ``info`` as the object that it is."""
    response = client.post(f"/sdapi/v1/{kind}", json={"prompt": "a pear", **fields})
    assert response.status_code == 200, response.text
    body = response.json()
    assert body.keys() == {"images", "parameters", "info"}
    return {**body, "info": json.loads(body["info"])}


def opened(text: str) -> PIL.Image.Image:
    picture = PIL.Image.open(BytesIO(base64.b64decode(text)))
    picture.load()
    return picture


def refusal(client: TestClient, kind: str = "txt2img", **fields: Any) -> tuple[int, str, str]:
    """Status, field and sentence of the refusal of a request."""
    response = client.post(f"/sdapi/v1/{kind}", json={"prompt": "a pear", **fields})
    return response.status_code, *error_of(response)


def error_of(response: Any) -> tuple[str, str]:
    """Field and sentence of an error, whose body is the web UI's."""
    body = response.json()
    assert {"error", "detail", "body", "errors"} <= body.keys()
    assert body["detail"] == body["errors"]
    assert body["request_id"] == response.headers["x-request-id"]
    return body.get("field", ""), body["detail"]
