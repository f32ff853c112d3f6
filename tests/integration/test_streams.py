"""Progress over HTTP: server-sent events of a real server."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from io import BytesIO
from typing import Any

import httpx
import PIL.Image
import pytest

from tests import uploads
from tests.integration.clients import read_events
from tests.integration.server import Server, wait_until

HEADERS = {"Accept": "text/event-stream"}
PROMPT = "a red apple on a blue background"
ENDLESS = {"prompt": "x", "num_inference_steps": 150, "width": 384, "height": 384}


def picture(data: str) -> PIL.Image.Image:
    image = PIL.Image.open(BytesIO(base64.b64decode(data)))
    image.load()
    return image


def test_progress_previews_and_the_picture(server: Server) -> None:
    body = {"prompt": PROMPT, "seed": 5, "num_inference_steps": 40}
    with server.client.stream(
        "POST", "/txt2img", json={**body, "previews": True}, headers=HEADERS
    ) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-seed"] == "5"
        first, *running, (last, image) = read_events(response)

    assert first == ("queued", {"position": 0})
    assert {name for name, _ in running} == {"progress"}
    assert all(0 < data["step"] <= data["total"] == 40 for _, data in running)
    previews = [picture(data["preview"]) for _, data in running if "preview" in data]
    # One pixel per latent: smaller than the picture.
    assert previews
    assert all(preview.width < 64 for preview in previews)
    assert last == "image"
    alone = server.client.post("/txt2img", json=body)
    assert picture(image["data"]).tobytes() == PIL.Image.open(BytesIO(alone.content)).tobytes()


def test_several_pictures(server: Server) -> None:
    body = {"prompt": PROMPT, "seed": 5, "num_inference_steps": 4, "num_images": 3}
    with server.client.stream("POST", "/txt2img", json=body, headers=HEADERS) as response:
        found = list(read_events(response))

    images = {data["index"]: data["seed"] for name, data in found if name == "image"}
    assert images == {0: 5, 1: 6, 2: 7}
    assert found[-1][0] == "image"


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_curl(server: Server) -> None:
    command = (
        f"curl -sN -X POST {server.url}/txt2img -H 'Accept: text/event-stream' "
        '-H \'Content-Type: application/json\' -d \'{"prompt": "x", "num_inference_steps": 2}\''
    )
    output = subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout

    assert output.startswith('event: queued\ndata: {"position": 0}\n\n')
    assert "\n\nevent: image\ndata: {" in output
    assert output.endswith("}\n\n")


@pytest.mark.parametrize("path", ["/img2img", "/inpaint"])
def test_pictures_from_pictures(server: Server, path: str) -> None:
    data = json.dumps({"prompt": PROMPT, "num_inference_steps": 3, "strength": 1.0})
    upload = uploads.encode(uploads.red_and_blue())
    files: dict[str, Any] = {"img": upload, "data": (None, data)}
    if path == "/inpaint":
        files["mask"] = upload
    with server.client.stream("POST", path, files=files, headers=HEADERS) as response:
        names = [name for name, _ in read_events(response)]

    assert (names[0], names[-1]) == ("queued", "image")


def test_leaving_a_stream_cancels_its_jobs(server: Server) -> None:
    before = server.metric("sd_jobs_total", outcome="cancelled")
    body = {**ENDLESS, "num_images": 2}
    with httpx.stream(
        "POST", f"{server.url}/txt2img", json=body, headers=HEADERS, timeout=None
    ) as response:
        # In the middle of it.
        next(data for name, data in read_events(response) if name == "progress")

    wait_until(
        lambda: server.metric("sd_jobs_total", outcome="cancelled") == before + 2,
        "both jobs to be cancelled",
    )
    wait_until(lambda: not server.running(), "the engine to be idle")
