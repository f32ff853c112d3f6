"""The page as a process of its own, in the environment that it has."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT
from tests.integration.server import START_SECONDS, WAIT_SECONDS, wait_until
from tests.ports import free_port

PYTHON = ROOT / ".venv-ui" / "bin" / "python"

needs_page = pytest.mark.skipif(
    not PYTHON.exists(), reason="the page's environment is not installed; run: make ui-tools"
)


class PageProcess:
    """``python -m ui``, started.

    Args:
        service: the URL of the service.
        folder: for its log.
        port: where it listens; any by default.
        arguments: further ones.

    Attributes:
        url: where the page is, without a trailing slash.
    """

    def __init__(
        self, service: str, folder: Path, port: int | None = None, *arguments: str
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / "page.log"
        inherited = {
            name: value for name, value in os.environ.items() if name[:3] not in {"SD_", "UI_"}
        }
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    *(str(PYTHON), "-m", "ui", "--url", service, "--port", str(self.port)),
                    *arguments,
                ],
                cwd=ROOT,
                env=inherited,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def is_there(self) -> bool:
        """Whether it answers."""
        if self.process.poll() is not None:
            raise AssertionError(f"the page has exited:\n{self.said()}")
        try:
            return httpx.get(f"{self.url}/livez").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def said(self) -> str:
        """What it has printed."""
        return self._log.read_text()

    def stop(self) -> int:
        """Ask it to stop; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_SECONDS)


@contextmanager
def page(
    service: str, folder: Path, port: int | None = None, *arguments: str
) -> Iterator[PageProcess]:
    """Start the page (see ``PageProcess``), wait until it is there, and leave nothing behind."""
    process = PageProcess(service, folder, port, *arguments)
    try:
        wait_until(process.is_there, "the page", START_SECONDS)
        yield process
        if process.process.poll() is None:
            assert process.stop() == 0, process.said()[-5000:]
    finally:
        if process.process.poll() is None:
            process.process.kill()
            process.process.wait()
