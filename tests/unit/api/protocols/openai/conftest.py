"""An application with OpenAI's protocol beside the others."""

from __future__ import annotations

import base64
from typing import Any, Final

import PIL.Image
import pytest
from starlette.testclient import TestClient

from settings import Settings
from tests import uploads
from tests.unit.api.protocols.neighbours import protocols

__all__ = ["protocols"]

GENERATIONS: Final = "/v1/images/generations"
EDITS: Final = "/v1/images/edits"
VARIATIONS: Final = "/v1/images/variations"


@pytest.fixture
def settings() -> Settings:
    return Settings(
        max_body_bytes=1024 * 1024, model_aliases={"gpt-image-1": "tiny", "dall-e-2": "gone"}
    )


def half_transparent() -> bytes:
    """40 x 20 pixels: the left half is transparent, the right half is not."""
    mask = PIL.Image.new("RGBA", (40, 20), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 20, 20))
    return uploads.encode(mask)


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def generate(client: TestClient, **fields: Any) -> Any:
    """The response to a request for pictures from a text."""
    return client.post(GENERATIONS, json={"prompt": "a pear", **fields})


def error_of(response: Any) -> dict[str, Any]:
    """The error of a response."""
    body = response.json()
    assert list(body) == ["error"]
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert response.headers["x-request-id"]
    return dict(body["error"])
