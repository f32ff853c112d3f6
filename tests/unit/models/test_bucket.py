from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import bentoml
import pytest

from models.bucket import fetch
from models.catalog import ModelEntry
from models.errors import DownloadError
from models.store import add, find, resolve, sha256_of, use
from tests.unit.models import bucket_server
from tests.unit.models.conftest import UNET, assert_nothing_stored, make_entry

COMMIT = "89abcdef" * 5
SOURCE = f"s3://{bucket_server.NAME}/models"
ENTRY = make_entry(source={"type": "huggingface", "repo": "acme/tiny", "revision": COMMIT})
LATEST = make_entry()
VERSION = COMMIT[:12]


@pytest.fixture
def bucket(
    store: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The bucket's folder, with a copy of a store in which the model was; the store is empty."""
    staged = tmp_path / "staged"
    shutil.copytree(folder, staged)
    files = {
        path.relative_to(staged).as_posix(): sha256_of(path)
        for path in staged.rglob("*")
        if path.is_file()
    }
    stored = add("tiny-fp32", VERSION, staged, {"files": files})
    bentoml.models.get(stored.tag)
    content = tmp_path / "bucket"
    shutil.copytree(store / "models", content / "models")
    (content / "models" / "tiny-fp32" / "latest").write_text(VERSION)
    bentoml.models.delete(stored.tag)
    with bucket_server.serve(content) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield content / "models" / "tiny-fp32" / VERSION


@pytest.mark.parametrize("entry", [ENTRY, LATEST], ids=["commit", "latest"])
def test_a_model_comes_whole_and_once(bucket: Path, folder: Path, entry: ModelEntry) -> None:
    stored = fetch(SOURCE, entry, "fp32")

    assert stored is not None
    assert stored.tag == f"tiny-fp32:{VERSION}"
    assert (resolve(ENTRY, "fp32") / UNET).read_bytes() == (folder / UNET).read_bytes()
    shutil.rmtree(bucket)  # from now on it is in the store
    again = fetch(SOURCE, ENTRY, "fp32")
    assert again is not None
    assert again.metadata["files"]


def test_what_the_store_never_holds_is_left_alone(bucket: Path, folder: Path) -> None:
    entry = make_entry(source={"type": "directory", "path": str(folder)})

    assert fetch(SOURCE, entry, "fp32") is None


def test_a_damaged_file_keeps_the_model_out_of_the_store(bucket: Path, store: Path) -> None:
    with (bucket / UNET).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")

    with pytest.raises(DownloadError, match="is damaged: its SHA-256 is not"):
        fetch(SOURCE, ENTRY, "fp32")
    assert_nothing_stored(store)


def test_a_missing_file_too(bucket: Path, store: Path) -> None:
    (bucket / UNET).unlink()

    with pytest.raises(DownloadError, match="is incomplete"):
        fetch(SOURCE, ENTRY, "fp32")
    assert_nothing_stored(store)


@pytest.mark.parametrize(
    ("source", "entry", "sentence"),
    [
        (SOURCE, make_entry("other"), "other-fp32:latest cannot be fetched from s3://pictures"),
        (f"s3://{bucket_server.NAME}/elsewhere", ENTRY, "has no model.yaml"),
    ],
)
def test_what_is_not_there_is_said(
    bucket: Path, source: str, entry: ModelEntry, sentence: str
) -> None:
    with pytest.raises(DownloadError, match=sentence):
        fetch(source, entry, "fp32")


def test_a_store_elsewhere_is_read_in_place(bucket: Path, store: Path) -> None:
    assert find(LATEST, "fp32") is None
    use(bucket.parents[1])
    stored = find(LATEST, "fp32")
    assert stored is not None
    assert stored.path == bucket
