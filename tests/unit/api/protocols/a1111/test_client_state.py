"""Options, progress and interruptions are those of the client that asks."""

from __future__ import annotations

import asyncio
import base64
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from starlette.testclient import TestClient

from api.protocols.a1111.preferences import DEFAULTS, Preferences, PreferencesOfClients
from api.protocols.a1111.schemas import Generation
from contract.request import OutputFormat
from tests import uploads
from tests.unit.api.conftest import ColourBackend, make_lora
from tests.unit.api.protocols.a1111.conftest import error_of, make

OPTIONS, PROGRESS = "/sdapi/v1/options", "/sdapi/v1/progress"


@contextmanager
def address(client: TestClient, peer: str) -> Iterator[TestClient]:
    """The same application, as a client at another address sees it."""
    with TestClient(client.app, client=(peer, 1), raise_server_exceptions=False) as other:
        yield other


def test_options_are_the_clients_own(client: TestClient, backend: ColourBackend) -> None:
    backend.loras = (make_lora("clay"),)
    before = client.get(OPTIONS).json()
    assert before["sd_model_checkpoint"] == "tiny"
    assert "forge_preset" not in before

    changed = {**before, "sd_model_checkpoint": "clay", "samples_format": "JPG"}
    # As Open WebUI does, which sends all of them back.
    assert client.post(OPTIONS, json=changed).json() == {"ignored": []}
    assert client.post(OPTIONS, json={"send_seed": False}).json() == {"ignored": []}
    after = client.get(OPTIONS).json()
    assert after == {
        **before,
        "sd_model_checkpoint": "clay",
        "samples_format": "jpeg",
        "send_seed": False,
    }
    make(client)
    assert (backend.requests[-1].served_as, backend.requests[-1].output_format) == (
        "clay",
        OutputFormat.JPEG,
    )
    # For one request alone.
    make(client, override_settings={"sd_model_checkpoint": "tiny", "samples_format": "png"})
    assert backend.requests[-1].served_as == "tiny"

    with address(client, "127.0.0.9") as other:
        assert other.get(OPTIONS).json() == before
        make(other)
        assert backend.requests[-1].served_as == "tiny"
    client.post(OPTIONS, json={"sd_model_checkpoint": None})
    assert client.get(OPTIONS).json()["sd_model_checkpoint"] == "tiny"


def test_options_that_cannot_be(client: TestClient) -> None:
    unknown = client.post(OPTIONS, json={"sd_model_checkpoint": "v8"})
    assert unknown.status_code == 404
    assert error_of(unknown)[0] == "sd_model_checkpoint"
    wrong = client.post(OPTIONS, json={"samples_format": "gif"})
    assert (wrong.status_code, error_of(wrong)[0]) == (422, "samples_format")
    fixed = {"CLIP_stop_at_last_layers": 2, "sd_vae": "Automatic", "show_progress": True}
    assert client.post(OPTIONS, json=fixed).json() == {
        "ignored": [
            "CLIP_stop_at_last_layers: cannot be changed",
            "show_progress: cannot be changed",
        ]
    }
    many = client.post(OPTIONS, json={f"x{index}": 1 for index in range(100)}).json()["ignored"]
    assert (len(many), many[-1]) == (33, "and 68 more")


def test_of_many_clients_the_latest_are_remembered() -> None:
    known = PreferencesOfClients(most=2)
    for name in ("a", "b"):
        known.set(name, Preferences(model=name))
    assert known.of("a").model == "a"
    known.set("c", Preferences(model="c"))
    assert [known.of(name).model for name in ("a", "b", "c")] == ["a", None, "c"]
    assert known.of("nobody") is DEFAULTS


def test_nothing_is_done(client: TestClient) -> None:
    idle = client.get(PROGRESS).json()

    assert (idle["progress"], idle["eta_relative"], idle["current_image"]) == (0, 0, None)
    assert (idle["state"]["job_count"], idle["state"]["sampling_steps"]) == (0, 0)
    for name in ("interrupt", "skip", "refresh-checkpoints", "refresh-loras"):
        for content in (b"", b"{}"):
            assert client.post(f"/sdapi/v1/{name}", content=content).json() == {}
        answer = client.post(f"/sdapi/v1/{name}", content=b'{"id": 1}').json()
        assert answer == {"ignored": ["the body: there is nothing to be said"]}
    for text, status in (("T", 200), ("off", 200), ("", 200), ("perhaps", 400)):
        asked = client.get(PROGRESS, params={"skip_current_image": text})
        assert asked.status_code == status, text
    assert error_of(asked)[0] == "skip_current_image"


def test_unfinished_pictures_are_made_for_those_who_look(
    client: TestClient, backend: ColourBackend
) -> None:
    client.get(PROGRESS, params={"skip_current_image": "true"})
    make(client)
    client.get(PROGRESS)
    make(client)
    with address(client, "127.0.0.9") as other:
        make(other)

    assert [one.wants_previews for one in backend.requests] == [False, True, False]
    assert all(one.wants_progress for one in backend.requests)


def test_what_a_client_sees_of_its_work(
    client: TestClient, backend: ColourBackend, protocols: Any
) -> None:
    """The handlers, in one event loop with the work."""

    async def story() -> None:
        backend.hold = asyncio.Event()
        app = client.app
        me, them = (Caller(app, peer) for peer in ("10.0.0.1", "10.0.0.2"))
        long = "x" * 10_000
        fields = {
            "prompt": "x",
            "n_iter": 2,
            "force_task_id": "mine",
            "hr_upscaler": long,
            "alwayson_scripts": {"y": {"args": [False, long]}},
        }
        mine = asyncio.create_task(me.ask("POST", "/sdapi/v1/txt2img", fields))
        while len(backend.requests) < 2:
            await asyncio.sleep(0)
        # While it waits, nothing of the body is kept.
        assert not [one for one in gc.get_objects() if isinstance(one, Generation)]
        seen = await me.ask("GET", PROGRESS)
        assert seen["progress"] == 0.01
        assert (seen["state"]["job"], seen["state"]["job_count"]) == ("mine", 2)
        assert (await them.ask("GET", PROGRESS))["state"]["job_count"] == 0

        await them.ask("POST", "/sdapi/v1/interrupt")
        assert not mine.done()
        await me.ask("POST", "/sdapi/v1/interrupt")
        answer = await mine
        assert answer["images"] == []
        # Nor is much of it returned.
        assert answer["parameters"]["alwayson_scripts"] is None
        assert answer["parameters"]["hr_upscaler"] is None
        assert '"interrupted": true' in answer["info"]

    asyncio.run(story())


class Caller:
    """A client at an address, in this event loop."""

    def __init__(self, app: Any, peer: str) -> None:
        self._app = app
        self._peer = peer

    async def ask(self, method: str, path: str, fields: Any = None) -> Any:
        transport = httpx.ASGITransport(self._app, client=(self._peer, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            response = await http.request(method, path, json=fields)
        assert response.status_code == 200, response.text
        return response.json()


def test_the_lists(client: TestClient, backend: ColourBackend) -> None:
    backend.loras = (make_lora("clay"),)

    def names(path: str, key: str = "name") -> list[str]:
        response = client.get(f"/sdapi/v1/{path}")
        assert response.status_code == 200
        return [one[key] for one in response.json()]

    assert names("sd-models", "title") == ["tiny", "clay"]
    assert names("loras") == ["clay"]
    assert names("samplers")[:3] == ["DPM++ 2M", "Euler a", "Euler"]
    assert names("schedulers") == ["automatic", "uniform", "karras", "sgm_uniform"]
    # SillyTavern puts the latent ones behind the first.
    assert names("upscalers") == ["None", "Lanczos"]
    for path in (
        *("latent-upscale-modes", "sd-vae", "sd-modules", "hypernetworks", "face-restorers"),
        *("realesrgan-models", "prompt-styles", "script-info", "extensions"),
    ):
        assert names(path) == []
    assert client.get("/sdapi/v1/embeddings").json() == {"loaded": {}, "skipped": {}}
    assert client.get("/sdapi/v1/scripts").json() == {"txt2img": [], "img2img": []}
    assert client.get("/sdapi/v1/cmd-flags").json()["api"] is True
    memory = client.get("/sdapi/v1/memory").json()
    assert 0 < memory["ram"]["used"] < memory["ram"]["total"]
    model = client.get("/sdapi/v1/sd-models").json()[0]
    assert model["hash"] is None
    assert model["filename"] == "tiny"


def test_what_a_picture_shows(client: TestClient) -> None:
    picture = base64.b64encode(uploads.encode(uploads.red_and_blue())).decode()
    ask = client.post

    shown = ask("/sdapi/v1/interrogate", json={"image": picture, "model": "clip"})
    assert shown.json() == {"caption": "bright", "ignored": []}
    more = ask("/sdapi/v1/interrogate", json={"image": picture, "colour": 1})
    assert more.json()["ignored"] == ["colour: not a field here"]
    other = ask("/sdapi/v1/interrogate", json={"image": picture, "model": "blip"})
    assert (other.status_code, error_of(other)[0]) == (404, "model")
    broken = ask("/sdapi/v1/interrogate", json={"image": "AAAA"})
    assert (broken.status_code, error_of(broken)[0]) == (415, "image")
    missing = ask("/sdapi/v1/png-info", json={})
    assert (missing.status_code, error_of(missing)) == (400, ("image", "image is required"))
    assert ask("/sdapi/v1/png-info", json={"image": picture}).json() == {
        "info": "",
        "items": {},
        "parameters": {},
        "request": {},
        "ignored": [],
    }
