"""Keys where they are stored: the commands, the document, and changes that take effect."""

from __future__ import annotations

import asyncio
import json
import stat
import threading
from pathlib import Path

import pytest

from api.keys import document, ring
from api.keys.__main__ import main
from api.keys.document import UnusableKeys
from api.keys.file import change, read
from api.keys.key import Key, id_of, matches, new_key
from api.keys.ring import Keyring, keyring
from api.keys.scopes import Scope
from api.keys.source import FileKeys, TextKeys
from settings import Settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture(autouse=True)
def _at_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "LOOK_SECONDS", -1.0)


def create(file: Path, name: str, *options: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["create", name, "--file", str(file), *options]) == 0
    return capsys.readouterr().out.strip()


def found(keys: Keyring, text: str) -> Key | None:
    return asyncio.run(keys.find(text))


def test_only_hashes_are_stored(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = create(file, "alice", "--rate", "60/minute", "--priority", "2", capsys=capsys)

    stored = file.read_text()
    assert text.split("_", 2)[2] not in stored
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (key,) = document.parse(stored).values()
    assert (key.name, key.scope, key.rate, key.priority) == ("alice", "generate", "60/minute", 2)
    assert matches(text, key)
    assert not matches(text[:-1] + "x" * (text[-1] != "x") + "y" * (text[-1] == "x"), key)
    assert id_of(text) == key.id
    assert list(file.parent.iterdir()) == [file]


def test_the_list_shows_limits_and_no_hashes(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create(file, "alice", "--pictures-per-day", "100", capsys=capsys)
    create(file, "prometheus", "--scope", "read", capsys=capsys)

    assert main(["--file", str(file), "list"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(" alice generate pictures_per_day=100")
    assert second.endswith(" prometheus read")
    assert main(["list", "--json", "--file", str(file)]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [key["name"] for key in listed] == ["alice", "prometheus"]
    assert not any("sha256" in key for key in listed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "two words"], "name: String should match pattern"),
        (["create", "x", "--rate", "often"], "rate: Value error, must be such as 60/minute"),
        (["create", "x", "--rate", "0/minute"], "rate: Value error, must be such as"),
        (["create", "x", "--rate", "5/month"], "rate: Value error, must be such as"),
        (["create", "x", "--max-queued", "0"], "max-queued: Input should be greater than or equal"),
        (["create", "x", "--priority", "101"], "priority: Input should be less than or equal"),
        (["create", "alice"], "there is a key with the name alice already"),
        (["revoke", "bob"], "there is no key with the name or id bob"),
    ],
)
def test_mistakes_are_told(
    file: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    create(file, "alice", capsys=capsys)
    before = file.read_bytes()

    assert main([*arguments, "--file", str(file)]) == 1
    assert f"error: {message}" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_a_command_needs_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SD_API_KEYS_FILE", raising=False)

    assert main(["list"]) == 1
    assert "SD_API_KEYS_FILE" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--rate", "5/minute"]])
def test_without_a_file_it_says_what_the_variable_holds(
    options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SD_API_KEYS_FILE", raising=False)
    assert main(["create", "alice", "--scope", "admin", *options]) == 0
    printed = capsys.readouterr()
    text, variable = printed.out.strip(), printed.err.strip().removeprefix("for SD_API_KEYS: ")
    keys = keyring(Settings.model_validate({"api_keys": variable}))

    assert keys is not None
    key = found(keys, text)
    assert key is not None
    assert key.scope is Scope.ADMIN
    assert key.rate == (options[1] if options else None)


def test_two_at_once_lose_no_key(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = [new_key(f"k{number}")[1] for number in range(20)]
    threads = [
        threading.Thread(target=change, args=(file, lambda keys, one=one: {**keys, one.id: one}))
        for one in made
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert read(file) == {one.id: one for one in made}


def test_a_file_keeps_its_mode_and_a_link_to_it(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create(file, "alice", capsys=capsys)
    file.chmod(0o640)
    link = file.parent / "link.json"
    link.symlink_to(file)
    create(link, "bob", capsys=capsys)

    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert link.is_symlink()
    assert {key.name for key in read(file).values()} == {"alice", "bob"}


def test_changes_of_the_file_take_effect(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alice = create(file, "alice", capsys=capsys)
    keys = Keyring([FileKeys(file, "SD_API_KEYS_FILE")])
    assert found(keys, alice)

    bob = create(file, "bob", capsys=capsys)
    assert found(keys, bob)
    assert main(["revoke", "alice", "--file", str(file)]) == 0
    assert found(keys, alice) is None
    assert found(keys, bob)


def test_a_mounted_secret_is_followed_when_its_link_is_exchanged(tmp_path: Path) -> None:
    (old, old_key), (new, new_key_) = new_key("old"), new_key("new")
    for name, key in (("..1", old_key), ("..2", new_key_)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "keys.json").write_text(document.dump([key]))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "keys.json").symlink_to("..data/keys.json")
    keys = Keyring([FileKeys(tmp_path / "keys.json", "SD_API_KEYS_FILE")])
    assert found(keys, old)

    (tmp_path / "..tmp").symlink_to("..2")
    (tmp_path / "..tmp").replace(tmp_path / "..data")

    assert found(keys, old) is None
    assert found(keys, new)


def test_a_file_that_breaks_leaves_the_keys_as_they_were(
    file: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    alice = create(file, "alice", capsys=capsys)
    keys = Keyring([FileKeys(file, "SD_API_KEYS_FILE")])
    good = file.read_text()

    for broken in ('{"keys": [', f'{{"keys": [{{"id": "{alice}"}}]}}'):
        file.write_text(broken)
        assert found(keys, alice)
        assert found(keys, alice)
    file.unlink()
    assert found(keys, alice)
    assert len([one for one in caplog.records if one.levelname == "ERROR"]) == 3
    assert alice not in caplog.text
    file.write_text(document.dump([]))
    assert found(keys, alice) is None
    file.write_text(good)
    assert found(keys, alice)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "id: String should match pattern"),
        ('{"keys": 5}', "keys: Input should be a valid array"),
        ('{"keys": [], "more": 1}', "more: Extra inputs are not permitted"),
        ("sd_0123456789ab:" + "f" * 63, "sha256: String should match pattern"),
        ("sd_0123456789ab:" + "f" * 64 + ":owner", "scope: Input should be 'read', 'generate' or"),
        (
            "sd_0123456789ab:" + "f" * 64 + "\nsd_0123456789ab:" + "e" * 64,
            "there are 2 keys with the id sd_0123456789ab",
        ),
    ],
)
def test_a_document_that_is_none_is_refused_without_what_is_in_it(text: str, message: str) -> None:
    with pytest.raises(UnusableKeys, match=message) as caught:
        Keyring([TextKeys(text, "SD_API_KEYS")])

    assert str(caught.value).startswith("SD_API_KEYS: ")
    assert "nonsense" not in str(caught.value)


def test_lines_may_have_comments() -> None:
    keys = document.parse(f"# mine\n\n  sd_0123456789ab : {'f' * 64} : read\r\n")

    assert keys["sd_0123456789ab"].scope is Scope.READ


def test_a_missing_file_is_refused_at_the_start(file: Path) -> None:
    with pytest.raises(UnusableKeys, match=r"SD_API_KEYS_FILE=.*keys\.json cannot be read"):
        keyring(Settings(api_keys_file=file))

    assert keyring(Settings(api_keys_file=file, build_only=True)) is None
    assert keyring(Settings()) is None


def test_settings_do_not_show_what_they_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SD_API_KEYS", "sd_0123456789ab:" + "f" * 64)

    assert "ffff" not in repr(Settings())
    assert "ffff" not in str(Settings().model_dump())
