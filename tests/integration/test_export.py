"""An export to S3, as moto has it, and back as KServe's storage initializer would fetch it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from models.__main__ import main
from models.bucket import CHUNK
from models.catalog import load_catalog
from models.export import Bucket, export
from models.export_note import NOTE
from models.mounted import read_mounted
from tests.e2e.deployment.tools import mock_aws

pytestmark = pytest.mark.slow

CATALOG = load_catalog()


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with mock_aws(tmp_path) as aws:
        for name, value in {**aws.environment, "AWS_REGION": "us-east-1"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert httpx.put(f"{aws.url}/models", trust_env=False).status_code == 200
        yield "s3://models/embedded"


def test_to_s3_and_back(
    where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["export", "embedded", where]) == 0
    assert f"embedded is in {where}, " in capsys.readouterr().out
    bucket = Bucket(where)
    names = bucket.names()
    assert {"model_index.json", NOTE} <= names

    folder = tmp_path / "models"
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            for chunk in bucket._store.get(name).stream(CHUNK):
                file.write(chunk)
    assert read_mounted(folder, None).entries[0].defaults == CATALOG.get("embedded").defaults

    written: list[str] = []
    write = Bucket.write

    def write_noting(self: Bucket, name: str, chunks: Iterator[bytes], sha256: str) -> None:
        written.append(name)
        write(self, name, chunks, sha256)

    monkeypatch.setattr(Bucket, "write", write_noting)
    export(CATALOG, "embedded", "fp16", Bucket(where), where)
    assert written == [NOTE], "what is there already is not sent again"
    (other,) = {
        name for name in names if name.startswith("unet/") and name.endswith(".safetensors")
    }
    bucket._store.put(other, b"another one")
    written.clear()
    export(CATALOG, "embedded", "fp16", Bucket(where), where)
    assert written == [other, NOTE]


def test_a_bucket_that_is_not_there(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "embedded", "s3://nowhere/embedded"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: s3://nowhere/embedded cannot be written to: ")
    assert "404 Not Found" in line
