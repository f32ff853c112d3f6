"""Real servers: BentoML in production mode with its processes, and the local host in one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
# Bounds for what usually takes a few seconds; a loaded machine may need longer.
START_SECONDS = 180.0
WAIT_SECONDS = 90.0


def wait_until(condition: Callable[[], Any], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Poll until ``condition`` is true; fail after ``seconds``."""
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.05)


class Server:
    """A started server: of the checkout, or of a Bento.

    Args:
        folder: for its log and its BentoML home.
        host: ``bentoml``, or ``local`` for ``python -m serving.local``.
        target: what ``bentoml serve`` is given.
        home: the BentoML home, if it exists already.
        code: the folder whose ``configuration.yaml`` counts.
        wrapper: a command that makes a place for the server and becomes it.
        environment: its settings; one that is empty is not set.

    Attributes:
        host: as given.
        url: where it listens, without a trailing slash.
        client: an HTTP client for it.
        log: the file that its output goes to.
        home: its BentoML home, with its model store.
    """

    def __init__(
        self,
        folder: Path,
        *,
        host: Literal["bentoml", "local"] = "bentoml",
        target: str = "service:svc",
        home: Path | None = None,
        code: Path = ROOT,
        wrapper: Sequence[str] = (),
        **environment: str,
    ) -> None:
        self.host = host
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=WAIT_SECONDS, verify=False)
        self.log = folder / "server.log"
        if home is None:
            home = folder / "bentoml"
            home.mkdir()
        self.home = home
        inherited = {name: value for name, value in os.environ.items() if name[:3] != "SD_"}
        # By default not what it measures, which is something else on a busy machine. With one
        # number of threads a picture made again is the same to the last bit.
        settings = {
            "SD_MAX_PIXELS": "2400000",
            "SD_THREADS": "1",
            "SD_STORE": str(folder.resolve() / "store"),
        } | environment
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    *wrapper,
                    *(sys.executable, "-m"),
                    *(("bentoml", "serve", target) if host == "bentoml" else ("serving.local",)),
                    *("--host", "127.0.0.1", "--port", str(self.port)),
                ],
                cwd=folder if target != "service:svc" else ROOT,
                env={
                    **inherited,
                    "BENTOML_CONFIG": str(code / "configuration.yaml"),
                    "BENTOML_HOME": str(home),
                    "BENTOML_DO_NOT_TRACK": "True",
                    **{name: value for name, value in settings.items() if value},
                },
                stdout=output,
                stderr=subprocess.STDOUT,
                # A group of its own, so that a Ctrl-C in the test run does not reach it.
                start_new_session=True,
            )

    def ready(self) -> bool:
        """Whether it says so itself."""
        if self.process.poll() is not None:
            raise AssertionError(f"the server has exited:\n{self.log.read_text()[-5000:]}")
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def runner(self, name: str = "stable_diffusion") -> psutil.Process:
        """The process of the runner whose name begins so; by default that of the engine."""
        (runner,) = [
            child
            for child in psutil.Process(self.process.pid).children()
            if _runner_name(child).startswith(name)
        ]
        return runner

    def processes(self) -> list[psutil.Process]:
        """All of them; the first is the one that was started."""
        first = psutil.Process(self.process.pid)
        return [first, *first.children(recursive=True)]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels; 0 if there are none."""
        response = self.client.get("/metrics")
        response.raise_for_status()
        return sum(
            sample.value
            for family in text_string_to_metric_families(response.text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def running(self) -> float:
        """Jobs that are being denoised."""
        return self.metric("sd_queue_depth", state="running")

    def models(self, *arguments: str) -> None:
        """Run ``python -m models`` on its store."""
        result = subprocess.run(
            [sys.executable, "-m", "models", *arguments],
            cwd=ROOT,
            env={**os.environ, "BENTOML_HOME": str(self.home), "BENTOML_DO_NOT_TRACK": "True"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr

    def stop(self) -> int:
        """Ask it to stop; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_SECONDS)


def _runner_name(process: psutil.Process) -> str:
    """The name of the runner that a process is a worker of; empty where it is none."""
    arguments = process.cmdline()
    return arguments[arguments.index("--runner-name") + 1] if "--runner-name" in arguments else ""


@contextmanager
def serving(folder: Path, **options: Any) -> Iterator[Server]:
    """Start a server (see there), wait until it is ready, and leave nothing behind."""
    server = Server(folder, **options)
    try:
        wait_until(server.ready, "a server that is ready", START_SECONDS)
        yield server
        if server.process.poll() is None:
            assert server.stop() == 0
    finally:
        server.client.close()
        if server.process.poll() is None:
            # The supervisor's processes are in groups of their own.
            workers = psutil.Process(server.process.pid).children(recursive=True)
            server.process.kill()
            server.process.wait()
            for worker in workers:
                with suppress(psutil.NoSuchProcess):
                    worker.kill()
