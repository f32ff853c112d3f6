"""API keys in the store: made by the command, known to every host within seconds."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from api.keys import in_store, ring
from api.keys.__main__ import main
from api.keys.document import UnusableKeys
from api.keys.key import new_key
from api.keys.ring import Keyring, keyring
from settings import Settings
from settings.store import StoreSettings


@pytest.fixture(autouse=True)
def _at_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "LOOK_SECONDS", -1.0)
    # On any machine the look is over by then.
    monkeypatch.setattr(in_store, "_PATIENCE", 30.0)


@pytest.fixture
def where(url: str, tmp_path: Path) -> str:
    """Each kind of store in turn."""
    return url if url.startswith("postgresql") else str(tmp_path)


def create(where: str, name: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["create", name, "--store", where]) == 0
    return capsys.readouterr().out.strip()


def keys_of(where: str, **settings: Any) -> Keyring:
    fields = {"store": where, "store_pictures": "/nowhere", "api_keys_in_store": True}
    keys = keyring(Settings.model_validate({**fields, **settings}))
    assert keys is not None
    return keys


def name_of(keys: Keyring, text: str) -> str | None:
    key = asyncio.run(keys.find(text))
    return None if key is None else key.name


def test_changes_take_effect(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def started() -> Keyring:
        # As a host does, whose event loop runs.
        return keys_of(where)

    keys = asyncio.run(started())
    assert dict(keys.keys) == {}
    text = create(where, "alice", capsys)
    assert name_of(keys, text) == "alice"
    assert name_of(keys, create(where, "bob", capsys)) == "bob"
    assert main(["create", "bob", "--store", where]) == 1
    assert "a key with the name bob already" in capsys.readouterr().err
    assert main(["list", "--store", where]) == 0
    listed = capsys.readouterr().out
    assert [line.split()[1] for line in listed.splitlines()] == ["alice", "bob"]
    assert text not in in_store.read_text(StoreSettings(store=where))
    assert main(["revoke", "alice", "--store", where]) == 0
    assert name_of(keys, text) is None


def test_two_at_once_lose_no_key(where: str) -> None:
    settings = StoreSettings(store=where)
    made = [new_key(f"key{number}")[1] for number in range(4)]
    threads = [
        threading.Thread(
            target=in_store.change,
            args=(settings, lambda keys, one=one: {**keys, one.id: one}),
        )
        for one in made
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert in_store.read(settings) == {one.id: one for one in made}


def test_where_the_command_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SD_API_KEYS_FILE", raising=False)
    monkeypatch.setenv("SD_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("SD_API_KEYS_IN_STORE", "true")
    assert main(["create", "alice"]) == 0
    text = capsys.readouterr().out.strip()
    assert name_of(keys_of(str(tmp_path / "store")), text) == "alice"

    assert main(["list", "--store", "somewhere"]) == 1
    assert "error: store: " in capsys.readouterr().err
    monkeypatch.setenv("SD_API_KEYS_FILE", str(tmp_path / "keys.json"))
    assert main(["list"]) == 1
    assert "Give --file or --store" in capsys.readouterr().err
    with pytest.raises(ValueError, match="api_keys_in_store needs a store"):
        Settings.model_validate({"api_keys_in_store": True, "store": "none"})


def test_a_store_that_breaks_leaves_the_keys_as_they_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    text = create(str(tmp_path), "alice", capsys)
    keys = keys_of(str(tmp_path))
    for file in tmp_path.glob("predictions.sqlite*"):
        file.write_bytes(b"no database" * 500)

    assert name_of(keys, text) == "alice"
    assert "the API keys stay as they were" in caplog.text
    with pytest.raises(UnusableKeys, match="the API keys in the store cannot be had: "):
        keys_of(str(tmp_path))


def test_a_slow_store_keeps_nobody_waiting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = create(str(tmp_path), "alice", capsys)
    keys = keys_of(str(tmp_path))
    go_on, read_text = threading.Event(), in_store.read_text

    def slow(settings: StoreSettings, upgrade: bool) -> str:
        go_on.wait(60)
        return read_text(settings, upgrade)

    monkeypatch.setattr(in_store, "read_text", slow)
    monkeypatch.setattr(in_store, "_PATIENCE", 0.01)
    assert main(["revoke", "alice", "--store", str(tmp_path)]) == 0
    assert name_of(keys, text) == "alice"
    go_on.set()
    monkeypatch.setattr(in_store, "_PATIENCE", 30.0)
    while name_of(keys, text) is not None:
        pass
