"""What is logged of a request: prompts only where that is allowed."""

from __future__ import annotations

import logging

import pytest
from starlette.testclient import TestClient

from settings import Settings
from tests.unit.api.conftest import ColourBackend

BODY = {"prompt": "a \npear", "negative_prompt": "an apple", "num_images": 2, "seed": 7}


@pytest.fixture(params=[False, True])
def settings(request: pytest.FixtureRequest) -> Settings:
    return Settings(log_prompts=request.param)


def test_prompts(
    client: TestClient,
    settings: Settings,
    backend: ColourBackend,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    assert client.post("/txt2img", json=BODY).status_code == 200
    assert client.post("/txt2img", json={**BODY, "width": 65}).status_code == 422
    backend.failure = ValueError("broken")
    assert client.post("/txt2img", json=BODY).status_code == 500

    ours = [record for record in caplog.records if record.name.startswith("api")]
    assert ours[0].getMessage() == "2 of 128 x 128 with tiny in 20 steps"
    assert ("pear" in caplog.text, "apple" in caplog.text) == (settings.log_prompts,) * 2
    if settings.log_prompts:
        assert ours[1].getMessage() == 'prompts: ["a \\npear"], not: "an apple"'
