"""The hub: broken connections, damage, gates, tokens, and no network."""

from __future__ import annotations

import shutil
import socket
from collections import namedtuple
from pathlib import Path

import pytest

from models.errors import DownloadError, GatedModel, NotEnoughDisk
from models.hub import Hub
from models.pulling import pull
from models.store import resolve
from tests.unit.models.conftest import (
    ENTRY,
    UNET,
    UNET_FP16,
    Run,
    Start,
    assert_nothing_stored,
    make_entry,
    write_catalog,
)
from tests.unit.models.hub_server import COMMIT, HubServer


def test_killed_in_the_middle_it_continues(
    hub_server: HubServer, store: Path, start: Start, run: Run, tmp_path: Path
) -> None:
    catalog = write_catalog(tmp_path / "own.yaml", ENTRY)
    command = ("--catalog", str(catalog), "pull", "tiny", "--precision", "fp32")
    size = (hub_server.repos["acme/tiny"].folder / UNET).stat().st_size
    stall = 3 * 1024 * 1024
    assert size > stall
    hub_server.stall_after[UNET] = stall

    process = start(*command, HF_ENDPOINT=hub_server.url)
    assert hub_server.stalled.wait(timeout=30)
    part = store / "pulls" / "tiny-fp32" / COMMIT[:12] / f"{UNET}.part"
    while not part.exists() or part.stat().st_size < stall:
        assert process.poll() is None
    process.kill()
    process.communicate()
    assert_nothing_stored(store)
    before = len(hub_server.sent)

    status, out, err = run(*command, HF_ENDPOINT=hub_server.url)
    assert (status, err) == (0, "")
    assert f"tiny-fp32:{COMMIT[:12]}" in out
    first, second = hub_server.requests(UNET)
    assert (first.start, first.size) == (0, stall)
    assert (second.start, second.size) == (stall, size - stall)
    again = {sent.path for sent in hub_server.sent[before:]}
    assert not again & {sent.path for sent in hub_server.sent[:before] if sent.path != UNET}
    assert resolve(make_entry(), "fp32").is_dir()


def test_a_broken_connection_is_resumed_within_one_pull(
    hub_server: HubServer, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.hub.time.sleep", lambda _: None)
    hub_server.break_after[UNET] = 2 * 1024 * 1024 + 5
    stored = pull(make_entry(), "fp32", hub=Hub(hub_server.url))
    first, second = hub_server.requests(UNET)
    assert first.start == 0
    assert second.start == 2 * 1024 * 1024
    assert (stored.path / UNET).is_file()


def test_a_server_that_ignores_ranges_starts_over(
    hub_server: HubServer, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.hub.time.sleep", lambda _: None)
    hub_server.ignore_ranges = True
    hub_server.break_after[UNET] = 2 * 1024 * 1024
    stored = pull(make_entry(), "fp32", hub=Hub(hub_server.url))
    source = hub_server.repos["acme/tiny"].folder / UNET
    assert (stored.path / UNET).read_bytes() == source.read_bytes()


@pytest.mark.parametrize("path", [UNET_FP16, "unet/config.json"])
def test_a_damaged_file_is_dropped(hub_server: HubServer, store: Path, path: str) -> None:
    hub_server.repos["acme/tiny"].lie_about = path
    with pytest.raises(DownloadError, match=f"{path} of acme/tiny arrived damaged"):
        pull(make_entry(), "fp16", hub=Hub(hub_server.url))
    assert_nothing_stored(store)
    hub_server.repos["acme/tiny"].lie_about = None
    pull(make_entry(), "fp16", hub=Hub(hub_server.url))


@pytest.mark.parametrize(
    ("status", "todo"),
    [
        (401, "accept its licence at {page} and log in with `hf auth login`, or set HF_TOKEN"),
        (403, "your token has not accepted its licence: do so at {page}"),
    ],
)
def test_a_gate_says_what_to_do(hub_server: HubServer, store: Path, status: int, todo: str) -> None:
    hub_server.repos["acme/tiny"].gate = status
    with pytest.raises(GatedModel) as caught:
        pull(make_entry(gated=True), "fp16", hub=Hub(hub_server.url))
    message = str(caught.value)
    assert message.startswith("acme/tiny is gated: ")
    assert todo.format(page=f"{hub_server.url}/acme/tiny") in message
    assert_nothing_stored(store)


def test_the_token_is_sent(
    hub_server: HubServer, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    pull(make_entry(), "fp16", hub=Hub(hub_server.url))
    assert set(hub_server.tokens) == {"Bearer hf_test"}


def test_a_wrong_token_is_named(
    hub_server: HubServer, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(DownloadError, match="answered 401 for acme/tiny: your token is not valid"):
        pull(make_entry(), "fp16", hub=Hub(hub_server.url))


def test_an_unknown_revision(hub_server: HubServer, store: Path) -> None:
    source = {"type": "huggingface", "repo": "acme/tiny", "revision": "none"}
    with pytest.raises(DownloadError, match="acme/tiny has no revision 'none'"):
        pull(make_entry(source=source), "fp16", hub=Hub(hub_server.url))


def test_an_unknown_repository(hub_server: HubServer, store: Path) -> None:
    with pytest.raises(DownloadError, match="has no repository acme/none that you may see"):
        pull(make_entry("none"), "fp16", hub=Hub(hub_server.url))


def test_no_network_is_one_sentence(store: Path, run: Run, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        status, out, err = run("pull", "sd-1.5", "--precision", "fp16", HF_ENDPOINT=url)
    assert (status, out) == (1, "")
    assert err.startswith(f"error: {url} cannot be reached (")
    assert err.count("\n") == 1
    status, _, err = run("pull", "sd-1.5", "--precision", "fp16", HF_HUB_OFFLINE="1")
    assert (status, err) == (1, "error: HF_HUB_OFFLINE is set, so nothing can be downloaded.\n")


def test_too_little_disk(
    hub_server: HubServer, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 0, 513 * 10**6))
    with pytest.raises(
        NotEnoughDisk,
        match=r"tiny in fp32 needs 54\d\.\d MB of free disk at .*; there are 513\.0 MB\.",
    ):
        pull(make_entry(), "fp32", hub=Hub(hub_server.url))
    assert {sent.path for sent in hub_server.sent} == {"model_index.json"}
