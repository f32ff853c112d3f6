"""Pictures in a bucket: of S3 as moto has it, a process of its own."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from api.predictions.bucket import BucketFiles
from api.predictions.files import Files, FolderFiles
from api.predictions.predictions import Predictions
from contract.errors import ErrorCode, RequestError
from tests.conftest import ROOT, make_request
from tests.integration.server import wait_until
from tests.ports import free_port
from tests.unit.api.conftest import ColourBackend
from tests.unit.api.predictions.conftest import make_order, make_predictions

PYTHON = ROOT / ".venv-deploy" / "bin" / "python"
OLD = "0" * 32 + "/input"


@dataclass(frozen=True, slots=True)
class S3:
    """A running S3 with the bucket ``predictions``."""

    process: subprocess.Popen[bytes]
    where: str = "s3://predictions/of/ours"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    if not PYTHON.exists():
        pytest.skip("moto is not installed; run: make deploy-tools")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [str(PYTHON), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def made() -> bool:
        assert process.poll() is None
        try:
            return httpx.put(f"{url}/predictions", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", url)
        patch.setenv("AWS_ACCESS_KEY_ID", "mock")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "mock")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("NO_PROXY", "127.0.0.1")
        try:
            wait_until(made, "moto")
            yield S3(process)
        finally:
            process.kill()
            process.wait()


@pytest.fixture(params=["folder", "bucket"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    """Each place of files in turn."""
    if request.param == "folder":
        return FolderFiles(tmp_path)
    return BucketFiles(request.getfixturevalue("s3").where)


def test_a_file_is_there_as_a_whole_or_not_at_all(files: Files) -> None:
    async def story() -> None:
        await files.put("ab12/input", bytes(range(100)))
        await files.put("ab12/x-0.png", b"first")
        await files.put("ab12/x-0.png", b"second")
        assert await files.get("ab12/x-0.png") == b"second"
        assert await files.get("ab12/input", 3, 6) == bytes((3, 4, 5))
        assert await files.get("ab12/input", 97) == bytes((97, 98, 99))
        found = {one.key: one.modified async for one in files.all()}
        assert found.keys() == {"ab12/input", "ab12/x-0.png"}
        await files.delete([])
        await files.delete(["ab12/input", "ab12/never", "cd34/never"])
        for start, end in ((0, None), (0, 5)):
            with pytest.raises(FileNotFoundError):
                await files.get("ab12/input", start, end)
        await files.delete(["ab12/x-0.png"])
        assert [one async for one in files.all()] == []

    asyncio.run(story())


@asynccontextmanager
async def host(s3: S3, folder: Path, **settings: float) -> AsyncIterator[Predictions]:
    """One of several processes with the same database and the same bucket."""
    url = f"sqlite:///{folder}/one.sqlite"
    files = BucketFiles(s3.where)
    predictions = make_predictions(url, folder, ColourBackend(), files, **settings)
    await predictions.open()
    yield predictions
    predictions.stop_waiting()
    await predictions.finish(0)
    await predictions.close()


def test_any_host_has_the_pictures_until_their_time_is_over(s3: S3, tmp_path: Path) -> None:
    request = make_request(model="tiny", init_image=b"0" * 12288, strength=0.5)
    order = replace(make_order(), request=request)

    async def story() -> None:
        async with (
            host(s3, tmp_path, prediction_slots=0) as accepting,
            host(s3, tmp_path, picture_seconds=1) as running,
        ):
            accepted, _ = await accepting.accept(order)
            done = await running.wait(accepted, 30)
            (output,) = done.outputs
            assert await accepting.read(output, 1, 4) == b"PNG"
            whole = await accepting.read(output, 0, output.bytes)
            assert len(whole) == output.bytes

            await running._files.put(OLD, b"of a process that died")
            assert await running._retention.sweep(-60) == 1
            there = {one.key async for one in running._files.all()}
            assert there == {f"{done.folder}/input", output.key}
            await asyncio.sleep(1.1)
            await running._retention.apply()
            assert [one async for one in running._files.all()] == []
            with pytest.raises(RequestError) as refused:
                await accepting.read(output, 0, 1)
            assert refused.value.code is ErrorCode.GONE

    asyncio.run(story())


def test_what_cannot_be_reached_is_said(s3: S3, tmp_path: Path) -> None:
    """The last one, as S3 is gone then. What needs no file is accepted."""
    request = make_request(model="tiny", init_image=b"0" * 12288, strength=0.5)

    async def story() -> None:
        async with host(s3, tmp_path, prediction_slots=0) as here:
            s3.kill()
            refused = await asyncio.gather(
                here.accept(replace(make_order(), request=request)),
                anext(here._files.all()),
                here._files.delete([OLD]),
                return_exceptions=True,
            )
            assert isinstance(refused[0], RequestError)
            assert refused[0].code is ErrorCode.NOT_READY
            assert [type(one) for one in refused[1:]] == [OSError, OSError]
            assert "\n" not in str(refused[1])
            assert (await here.accept(make_order()))[1]

    asyncio.run(story())
