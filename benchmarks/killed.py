"""A server of ours that is killed, in parts or as a whole, and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import httpx
import psutil

from benchmarks.contestant import ROOT
from benchmarks.server import free_port

PATIENCE: Final = 900.0
# The same in different passes, to the last bit.
_SETTINGS: Final = {"SD_INVARIANT": "true", "SD_THREADS": "1", "SD_MAX_PIXELS": "2400000"}
TARGETS: Final = {"bentoml": ("runner", "api", "all"), "local": ("all",)}


class Service:
    """A server that can be killed and started again.

    Args:
        host: a key of ``TARGETS``.
        store: ``SD_STORE``; None for SQLite in the folder.
        settings: others of the service.
        folder: for its log, its store and BentoML's home.
    """

    def __init__(self, host: str, store: str | None, folder: Path, **settings: str) -> None:
        self._host = host
        self._folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {
            **{name: value for name, value in os.environ.items() if name[:3] != "SD_"},
            **_SETTINGS,
            "SD_STORE": store or str(folder / "store"),
            "SD_STORE_PICTURES": str(folder / "pictures"),
            "SD_PREDICTION_LEASE": "5",
            "SD_PREDICTION_ATTEMPTS": "1000",
            **settings,
            "BENTOML_HOME": str(folder / "home"),
            "BENTOML_CONFIG": str(ROOT / "configuration.yaml"),
            "BENTOML_DO_NOT_TRACK": "True",
        }
        (folder / "home").mkdir()
        self.start()

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        command = ["-m", "serving.local"]
        if self._host == "bentoml":
            command = ["-m", "bentoml", "serve", "service:svc"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *command, "--host", "127.0.0.1", "--port", str(self.port)],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            until(self.ready, "a server that is ready")
        except BaseException:
            self.kill("all")
            raise

    def ready(self) -> bool:
        """Whether it says so."""
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/readyz", timeout=10).status_code == 200
        return False

    def kill(self, target: str) -> bool:
        """Kill the engine's process, that of the API, or all; False where it is not there."""
        processes = [psutil.Process(self._process.pid)]
        processes += processes[0].children(recursive=True)
        if target != "all":
            sign = "http_api_server" if target == "api" else "stable_diffusion"
            processes = [one for one in processes[1:] if any(sign in word for word in _words(one))]
        for one in processes:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        if target == "all":
            self._process.wait()
        return bool(processes)

    def stop(self) -> None:
        """End it, if it still runs."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(60)
        if self._process.poll() is None:
            self.kill("all")


def until(condition: Callable[[], Any], what: str) -> None:
    """Wait for a condition. Raises RuntimeError, after long."""
    give_up = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > give_up:
            raise RuntimeError(f"waited in vain for {what}")
        time.sleep(0.2)


def _words(process: psutil.Process) -> Iterator[str]:
    with suppress(psutil.NoSuchProcess):
        yield from process.cmdline()
