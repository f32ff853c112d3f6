"""A contestant's processes: how they are started, found ready, measured and stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from urllib.error import URLError
from urllib.request import urlopen

import psutil

from benchmarks.contestant import METRICS_SECONDS, ROOT, Choice, Contestant
from benchmarks.work import Ledger, Meter, Metrics
from benchmarks.workloads import SINGLE

START_SECONDS = 180.0
STOP_SECONDS = 30.0
LOG_TAIL = 4_000  # characters


class StartFailed(RuntimeError):
    """A server did not become ready; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Server:
    """A contestant that runs and is ready."""

    contestant: Contestant
    url: str
    meter: Meter
    log: Path

    def log_tail(self) -> str:
        """The end of what it printed."""
        return _tail(self.log)


def environment(
    contestant: Contestant,
    choice: Choice,
    folder: Path,
    device: str,
    models: tuple[str, ...] = SINGLE,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """The environment of a contestant's processes: of ours only what every server inherits, and
    further ``settings``."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SD_", "BENCH_", "OMP_", "GOMP_", "ONEDNN_", "BENTOML_", "RAY_"))
    }
    # With its defaults, but on the device that was asked for, and without what the others lack.
    own = (
        {"SD_DEVICE": device, "SD_CLASSIFIER": "none", "SD_MODELS": ",".join(models)}
        if contestant.is_ours
        else choice.environment()
    )
    return {
        **inherited,
        "PYTHONPATH": str(ROOT),
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "TRANSFORMERS_VERBOSITY": "error",
        "BENCH_MODELS": str(ROOT / "models"),
        "BENCH_DEVICE": device,
        "BENCH_LEDGER": str(folder / "ledger"),
        **contestant.environment,
        **own,
        **settings,
    }


@contextmanager
def started(
    contestant: Contestant,
    choice: Choice,
    device: str = "cpu",
    models: tuple[str, ...] = SINGLE,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Server]:
    """Run a contestant's server, with further settings, until the end of the block.

    Raises:
        StartFailed: it exited, or was not ready within ``START_SECONDS``.
    """
    # Ray puts sockets into the folder, whose paths may have 107 characters.
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        (folder / "bentoml").mkdir()
        port = free_port()
        metrics = free_port(port + 1)
        url = f"http://127.0.0.1:{port}"
        arguments = [
            part.format(port=port, folder=folder, metrics=metrics) for part in contestant.arguments
        ]
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=environment(contestant, choice, folder, device, models, settings),
                stdout=output,
                stderr=subprocess.STDOUT,
                # A group of its own: a Ctrl-C reaches the benchmark, which stops it in order.
                start_new_session=True,
            )
        try:
            _wait_ready(contestant, process, url, log)
            meter: Meter = Ledger(folder / "ledger")
            if contestant.name == "ours_on_ray":
                meter = Metrics(f"http://127.0.0.1:{metrics}", "ray_", delay=3 * METRICS_SECONDS)
            elif contestant.is_ours:
                meter = Metrics(url)
            yield Server(contestant, url, meter, log)
        finally:
            stop(process)


def free_port(first: int = 8_100) -> int:
    """A free port of 127.0.0.1, from ``first``; below the range that Ray gives to its workers."""
    for port in range(first, 10_000):
        with socket.socket() as candidate:
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise StartFailed("no free port from 8100 to 9999 of 127.0.0.1")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and make sure of it and of all that it started."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    _, alive = psutil.wait_procs(family, timeout=5)
    for child in alive:
        # psutil knows a process by its start as well, so a reused pid is no danger.
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=5)


def _wait_ready(
    contestant: Contestant, process: subprocess.Popen[bytes], url: str, log: Path
) -> None:
    give_up = time.monotonic() + START_SECONDS
    while not _answers(f"{url}/readyz"):
        if process.poll() is not None:
            raise StartFailed(
                f"{contestant.name} exited with {process.returncode} at its start:\n{_tail(log)}"
            )
        if time.monotonic() > give_up:
            raise StartFailed(
                f"{contestant.name} was not ready within {START_SECONDS:.0f} s:\n{_tail(log)}"
            )
        time.sleep(0.25)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL:]
