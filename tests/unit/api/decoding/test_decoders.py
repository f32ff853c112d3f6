"""The decoding processes themselves: real ones, with pictures that take their time."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import PIL.Image
import psutil
import pytest

from api import admission, arrival
from api.decoding.decoders import Decoders
from api.decoding.job import LANCZOS, Job, PictureFault, Sizing
from contract.errors import ErrorCode, RequestError
from settings import Settings
from tests import uploads

PICTURE = uploads.encode(uploads.red_and_blue())
# Some seconds: a pass over sixteen megapixels each.
SLOW = uploads.progressive(90, side=4000)


def job(mask: str | None = None, **limits: Any) -> Job:
    sizing = Sizing(64, 32, native=(64, 64), multiple=8, sides=(8, 64), max_pixels=64 * 64)
    return Job(
        picture="picture",
        mask=mask,
        sizing=sizing,
        resample=LANCZOS,
        **{"max_input_pixels": 16_000_000, **limits},
    )


@asynccontextmanager
async def decoding(**options: Any) -> AsyncIterator[Decoders]:
    decoders = Decoders(Settings(**options))
    try:
        yield decoders
    finally:
        await decoders.close()
        assert not processes()


def processes() -> list[psutil.Process]:
    """The decoding processes of this test run.

    It may have other children, such as those of a shell that became it, and they may end meanwhile.
    """
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if "api.decoding.worker" in child.cmdline():
                found.append(child)
    return found


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def busy() -> list[psutil.Process]:
    """Those that have begun with a large picture."""
    return [one for one in processes() if one.memory_info().rss > 30_000_000]


def test_pictures_come_as_they_are_wanted() -> None:
    async def run() -> None:
        async with decoding() as decoders:
            decoded = await decoders.decode(job(mask="mask"), [PICTURE, PICTURE], "")
            assert (decoded.width, decoded.height) == (64, 32)
            assert decoded.picture[:3] == bytes(uploads.RED)
            assert decoded.mask is not None
            assert (len(decoded.picture), len(decoded.mask)) == (64 * 32 * 3, 64 * 32)
            assert len(processes()) == 1

    asyncio.run(run())


def test_a_result_that_is_too_large_is_not_made() -> None:
    async def run() -> None:
        sizing = Sizing(64, 48, native=(64, 64), multiple=8, sides=(8, 64), max_pixels=63)
        wanted = Job(picture="p", max_input_pixels=1000, sizing=sizing, resample=LANCZOS)
        async with decoding() as decoders:
            decoded = await decoders.decode(wanted, [PICTURE], "")
            assert (decoded.width, decoded.height, decoded.picture) == (64, 48, b"")

    asyncio.run(run())


def test_faults_are_told_and_the_process_goes_on() -> None:
    async def run() -> None:
        async with decoding() as decoders:
            for data, code in uploads.BROKEN.values():
                with pytest.raises(PictureFault) as refused:
                    await decoders.decode(job(mask="mask"), [PICTURE, data], "")
                assert (refused.value.code, refused.value.field) == (code, "mask")
            (process,) = processes()
            await decoders.decode(job(), [PICTURE], "")
            assert processes() == [process]

    asyncio.run(run())


def test_the_time_limit_ends_the_process_and_names_the_picture() -> None:
    async def run() -> None:
        async with decoding(decode_seconds=0.4) as decoders:
            with pytest.raises(PictureFault) as refused:
                await decoders.decode(job(), [SLOW], "")
            assert (refused.value.code, refused.value.field) == (ErrorCode.OUT_OF_RANGE, "picture")
            assert "within 0.4 seconds" in refused.value.message
            assert not processes()
            await decoders.decode(job(), [PICTURE], "")

    asyncio.run(run())


def test_a_process_that_breaks_is_the_fault_of_its_picture() -> None:
    async def run() -> None:
        async with decoding() as decoders:
            work = asyncio.create_task(decoders.decode(job(), [SLOW], ""))
            await until(busy)
            busy()[0].kill()
            with pytest.raises(PictureFault) as refused:
                await work
            assert refused.value.code is ErrorCode.INVALID_REQUEST
            await decoders.decode(job(), [PICTURE], "")

    asyncio.run(run())


def test_one_that_was_lost_in_between_is_replaced() -> None:
    async def run() -> None:
        async with decoding() as decoders:
            await decoders.start()
            lost = processes()
            for process in lost:
                process.kill()
            # Whether they are known to be dead by now or not.
            await decoders.decode(job(), [PICTURE], "")
            assert not set(lost) & set(processes())

    asyncio.run(run())


def test_cancelling_ends_the_work_at_once() -> None:
    async def run() -> None:
        async with decoding() as decoders:
            work = asyncio.create_task(decoders.decode(job(), [SLOW], ""))
            await until(busy)
            work.cancel()
            await asyncio.wait([work])
            assert not processes()

    asyncio.run(run())


def test_those_who_wait_leave_at_their_deadline() -> None:
    async def run() -> None:
        async with decoding(deadline=1) as decoders:
            with arrival.noted():
                work = [asyncio.create_task(decoders.decode(job(), [SLOW], "")) for _ in range(3)]
                await asyncio.wait(work)
            errors = [task.exception() for task in work]
            codes = [error.code for error in errors if isinstance(error, RequestError)]
            assert codes == [ErrorCode.DEADLINE_EXCEEDED] * 3
            assert not processes()

    asyncio.run(run())


def test_a_shutdown_may_cancel_those_who_wait_and_admits_no_more() -> None:
    async def run() -> None:
        async with decoding() as decoders:
            candidate = admission.Candidate()
            with admission.of(candidate):
                work = asyncio.create_task(decoders.decode(job(), [SLOW], ""))
                await until(busy)
                assert candidate.waits
                work.cancel()
                await asyncio.wait([work])
                assert not candidate.waits
                candidate.closed = True
                with pytest.raises(RequestError) as refused:
                    await decoders.decode(job(), [PICTURE], "")
            assert refused.value.code is ErrorCode.NOT_READY

    asyncio.run(run())


def test_memory_is_bounded() -> None:
    """The limit is made for pictures of 4,096 pixels here, and this one has sixteen million."""

    async def run() -> None:
        async with decoding(max_input_pixels=64 * 64) as decoders:
            large = uploads.encode(PIL.Image.new("RGB", (4500, 4500)), compress_level=1)
            with pytest.raises(PictureFault) as refused:
                await decoders.decode(job(max_input_pixels=10**9), [large], "")
            assert refused.value.code is ErrorCode.PAYLOAD_TOO_LARGE
            await decoders.decode(job(), [PICTURE], "")

    asyncio.run(run())


def test_signals_of_the_group_do_not_end_a_job() -> None:
    async def run() -> None:
        async with decoding() as decoders:
            await decoders.decode(job(), [PICTURE], "")
            (process,) = processes()
            for signum in (signal.SIGINT, signal.SIGTERM):
                os.kill(process.pid, signum)
            await decoders.decode(job(), [PICTURE], "")
            assert processes() == [process]

    asyncio.run(run())


@pytest.mark.slow
def test_processes_end_with_a_server_that_is_killed() -> None:
    """Busy or not, and without a chance to tell them."""
    program = """
import asyncio, time
from api.decoding.decoders import Decoders
from settings import Settings
from tests.unit.api.decoding.test_decoders import SLOW, job, processes

async def run():
    decoders = Decoders(Settings())
    await decoders.start()
    asyncio.create_task(decoders.decode(job(), [SLOW], ""))
    await asyncio.sleep(1)
    print(*(one.pid for one in processes()), flush=True)
    await asyncio.sleep(60)

asyncio.run(run())
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        pids = [int(pid) for pid in server.stdout.readline().split()]
        server.kill()
    assert len(pids) == 2
    left = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    _, alive = psutil.wait_procs(left, timeout=10)
    assert not alive


def test_a_process_imports_no_more_than_pillow() -> None:
    program = "import sys, api.decoding.worker; print(*sys.modules)"
    names = subprocess.check_output([sys.executable, "-c", program], text=True).split()

    packages = {name.partition(".")[0] for name in names}
    assert not packages & {"anyio", "asyncio", "bentoml", "numpy", "pydantic", "starlette", "torch"}
