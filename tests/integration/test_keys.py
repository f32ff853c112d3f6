"""Keys on a real server: they are made, counted and revoked while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.keys.__main__ import main
from tests.e2e.browser import (
    find,
    needs_browser,
    severe_lines,
    shows_a_picture,
    started,
    try_it_out,
)
from tests.effort import only_in_full
from tests.integration.clients import ENDLESS, SHORT, read_events
from tests.integration.server import Server, serving, wait_until

# A change is to take effect within seconds; a loaded machine may need longer.
SECONDS = 20.0
# What a wrong key gets: 429 after ten in a minute, which asking again and again soon makes.
REFUSED = {401, 429}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def admin(file: Path) -> str:
    return command(file, "create", "admin", "--scope", "admin")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, file: Path, admin: str) -> Iterator[Server]:
    """A server with one key."""
    folder = tmp_path_factory.mktemp("guarded")
    settings = {
        "SD_API_KEYS_FILE": str(file),
        "SD_API_KEYS_IN_STORE": "true",
        "SD_METRICS_FROM": "127.0.0.1",
        "SD_PUBLIC_DOCS": "true",
    }
    with serving(folder, host="local", **settings) as server:
        yield server


def command(file: Path, *arguments: str) -> str:
    """What ``python -m api.keys`` prints."""
    with redirect_stdout(StringIO()) as printed:
        assert main([*arguments, "--file", str(file)]) == 0
    return printed.getvalue().strip()


def make(server: Server, key: str, body: dict[str, Any] = SHORT) -> httpx.Response:
    return server.client.post("/txt2img", json=body, headers={"X-API-Key": key})


def test_a_key_opens_the_service_until_it_is_revoked(guarded: Server, file: Path) -> None:
    assert guarded.client.post("/txt2img", json=SHORT).status_code == 401
    assert guarded.metric("sd_queue_depth") == 0

    key = command(file, "create", "alice")
    wait_until(lambda: make(guarded, key).status_code == 200, "the key to count", SECONDS)
    password = guarded.client.post("/txt2img", json=SHORT, auth=("anyone", key))
    assert password.headers["content-type"] == "image/png"

    # A link to a picture needs none, and nothing but itself.
    wanted = {**SHORT, "response_format": "url"}
    headers = {"Authorization": f"Bearer {key}"}
    linked = guarded.client.post("/v1/images/generations", json=wanted, headers=headers)
    link = linked.json()["data"][0]["url"]
    assert guarded.client.get(link).headers["content-type"] == "image/png"
    assert guarded.client.get(link.partition("?")[0]).status_code == 401

    command(file, "revoke", "alice")
    wait_until(lambda: make(guarded, key).status_code in REFUSED, "it to be revoked", SECONDS)
    log = guarded.log.read_text()
    assert key.split("_", 2)[2] not in log
    assert key[:15] in log


def test_a_key_in_the_store_counts_as_well(
    guarded: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(guarded.log.parent.resolve() / "store")
    assert main(["create", "bob", "--store", store]) == 0
    key = capsys.readouterr().out.strip()
    wait_until(lambda: make(guarded, key).status_code == 200, "the key to count", SECONDS)
    assert main(["revoke", "bob", "--store", store]) == 0
    wait_until(lambda: make(guarded, key).status_code in REFUSED, "it to be revoked", SECONDS)


def test_a_key_has_its_places_and_the_queue_shows_them(
    guarded: Server, file: Path, admin: str
) -> None:
    key = command(file, "create", "modest", "--max-queued", "2")
    headers = {"Authorization": f"Bearer {key}", "Accept": "text/event-stream"}

    def queue() -> dict[str, Any]:
        asked = guarded.client.get("/admin/queue", headers={"Authorization": f"Bearer {admin}"})
        return {one["name"]: one for one in asked.json()["tenants"]}

    wait_until(lambda: "modest" in queue(), "the key to count", SECONDS)
    with ExitStack() as stack:
        # Kept, as a stream that nobody reads any more is closed.
        streams = []
        for _ in range(2):
            opened = guarded.client.stream("POST", "/txt2img", json=ENDLESS, headers=headers)
            streams.append(read_events(stack.enter_context(opened)))
            assert next(streams[-1])[0] == "queued"
        refused = make(guarded, key)
        assert refused.status_code == 429
        assert "the limit for its key is 2 (max_queued)" in refused.json()["error"]["message"]
        wait_until(lambda: queue()["modest"]["running"] > 0, "a picture to be begun")
        modest = queue()["modest"]
        assert modest["queued"] + modest["running"] == 2
        # What was refused is not on its account.
        assert modest["today"]["pictures"] == 2
        assert make(guarded, admin).status_code == 200
    wait_until(lambda: queue()["modest"]["queued"] + queue()["modest"]["running"] == 0, "the end")


@needs_browser[1]
@pytest.mark.browser
@only_in_full
def test_the_page_takes_a_key(guarded: Server, admin: str) -> None:
    with started() as browser:
        browser.get(guarded.url)
        find(browser, ".btn.authorize").click()
        field = find(browser, "#auth-bearer-value")
        field.send_keys(admin)
        field.submit()
        find(browser, ".auth-container .btn-done").click()

        assert shows_a_picture(browser, try_it_out(browser, "txt2img"))
        assert not severe_lines(browser)
