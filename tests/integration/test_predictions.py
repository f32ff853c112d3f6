"""Predictions on a real server, by Replicate's client as it is."""

from __future__ import annotations

import io

import httpx
import pytest
from PIL import Image
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError

from tests.integration.server import Server

LONG = {"prompt": "a red apple", "num_inference_steps": 100, "num_images": 2, "seed": 5}
SHORT = {"prompt": "a red apple", "num_inference_steps": 4, "seed": 5}


@pytest.mark.slow
def test_replicates_client(server: Server) -> None:
    """Nothing of it but the address is changed."""
    client = Client(api_token="none", base_url=server.url)
    # Links: it makes files of them where they begin with https.
    (link,) = client.run("anyone/embedded", input=SHORT)
    (again,) = client.run("anyone/embedded:embedded", input=SHORT)
    assert _pixels(httpx.get(again).content) == _pixels(httpx.get(link).content)

    prediction = client.predictions.create(version="embedded", input=LONG)
    states = [prediction.status]
    prediction.reload()
    prediction.cancel()
    prediction.wait()
    assert [*states, prediction.status] == ["starting", "canceled"]
    slower = {**SHORT, "num_inference_steps": 30}
    done = client.predictions.create(version="embedded", input=slower, wait=True)
    assert done.status == "succeeded"
    assert done.progress is not None
    assert done.progress.current == done.progress.total
    ids = [one.id for one in client.predictions.list()]
    assert ids[:2] == [done.id, prediction.id]
    assert client.models.get("anyone/embedded").latest_version is not None
    assert client.webhooks.default.secret().key.startswith("whsec_")
    with pytest.raises(ReplicateError, match="width must be a multiple of 8"):
        client.run("anyone/embedded", input={**SHORT, "width": 65})
    late = {"input": SHORT, "deadline": 0.001}
    failed = httpx.post(f"{server.url}/predictions", json=late, headers={"Prefer": "wait"}).json()
    assert (failed["status"], failed["error_code"]) == ("failed", "deadline_exceeded")
    with pytest.raises(ModelError):
        raise ModelError(client.predictions.get(failed["id"]))


def _pixels(file: bytes) -> bytes:
    return Image.open(io.BytesIO(file)).tobytes()
