"""An export to S3, as moto has it, and back as KServe's storage initializer would fetch it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from models.__main__ import main
from models.bucket import CHUNK
from models.catalog import load_catalog
from models.errors import ModelError
from models.export import Bucket, export
from models.export_note import NOTE
from models.mounted import read_mounted
from tests.e2e.deployment.tools import mock_aws
from tests.effort import only_in_full
from tests.integration.server import ROOT, serving

pytestmark = pytest.mark.slow

CATALOG = load_catalog()
PYTHON = ROOT / ".venv-kserve" / "bin" / "python"
INITIALIZER = """
import sys
from kserve_storage import Storage
Storage.download_files([sys.argv[1]], [sys.argv[2]])
"""


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mock_aws(tmp_path_factory.mktemp("aws")) as aws, pytest.MonkeyPatch.context() as patch:
        for name, value in {**aws.environment, "AWS_REGION": "us-east-1"}.items():
            patch.setenv(name, value)
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.delenv("AWS_CA_BUNDLE", raising=False)
        assert httpx.put(f"{aws.url}/models", trust_env=False).status_code == 200
        yield "s3://models"


def broken(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """A file whose reading ends with a Ctrl-C."""
    yield next(chunks)[:1000]
    raise KeyboardInterrupt


def test_to_s3_and_back(
    bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    where = f"{bucket}/embedded"
    written: list[str] = []
    write = Bucket.write

    def write_noting(self: Bucket, name: str, chunks: Iterator[bytes], sha256: str) -> None:
        written.append(name)
        write(self, name, broken(chunks) if len(written) == 3 else chunks, sha256)

    monkeypatch.setattr(Bucket, "write", write_noting)
    with pytest.raises((KeyboardInterrupt, ModelError)):
        export(CATALOG, "embedded", "fp16", Bucket(where), where)
    assert Bucket(where).names() == set(written[:2]), "the third one was broken off"

    assert main(["export", "embedded", where]) == 0
    assert f"embedded is in {where}, " in capsys.readouterr().out
    written_to = Bucket(where)
    names = written_to.names()
    assert {"model_index.json", NOTE} <= names

    folder = tmp_path / "models"
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            for chunk in written_to._store.get(name).stream(CHUNK):
                file.write(chunk)
    assert read_mounted(folder, None).entries[0].defaults == CATALOG.get("embedded").defaults

    assert len(written) == len(set(written)) + 1, "the others were sent once"
    written[:] = [""] * 3
    export(CATALOG, "embedded", "fp16", Bucket(where), where)
    assert written[3:] == [NOTE], "what is there already is not sent again"
    (other,) = {
        name for name in names if name.startswith("unet/") and name.endswith(".safetensors")
    }
    written_to._store.put(other, b"another one")
    written[:] = [""] * 3
    export(CATALOG, "embedded", "fp16", Bucket(where), where)
    assert written[3:] == [other, NOTE]


@only_in_full
def test_the_storage_initializer_fetches_what_is_served(bucket: str, tmp_path: Path) -> None:
    """With KServe's own code, and in the folder that it fills."""
    if not PYTHON.exists():
        pytest.skip("KServe's packages are not installed; run: make kserve-tools")
    where, folder = f"{bucket}/apples", tmp_path / "models"
    assert main(["export", "embedded", where]) == 0
    # Isolated: its modules are its environment's own.
    fetching = subprocess.run(
        [PYTHON, "-I", "-c", INITIALIZER, where, folder],
        capture_output=True,
        text=True,
        check=False,
    )
    assert fetching.returncode == 0, fetching.stderr

    settings = {"SD_MODEL_SOURCE": str(folder), "SD_MODEL_NAME": "apples"}
    with serving(tmp_path, host="local", SD_CLASSIFIER="none", **settings) as server:
        assert server.client.get("/v2/models").json() == {"models": ["apples"]}
        assert server.client.get("/v2/models/apples/ready").status_code == 200
        wanted = {"prompt": "a red apple", "num_inference_steps": 1, "seed": 7}
        made = server.client.post(
            "/v2/models/apples/infer", json={"inputs": [], "parameters": wanted}
        )
        assert made.status_code == 200, made.text


def test_a_bucket_that_is_not_there(bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "embedded", "s3://nowhere/embedded"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: s3://nowhere/embedded cannot be written to: ")
    assert "404 Not Found" in line
