"""``make ui``: the page and a service beside it, with stand-ins for both."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.integration.server import wait_until
from tests.ports import free_port

# Answers 503 the first time and 200 from then on, and writes down its name as it starts and ends.
STAND_IN = """\
import os, pathlib, signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

name, port = sys.argv[1:3]
if "--url" in sys.argv:
    name, port = "page", sys.argv[sys.argv.index("--port") + 1]
note = pathlib.Path("notes").open("a", buffering=1)

class Handler(BaseHTTPRequestHandler):
    asked = 0

    def do_GET(self):
        Handler.asked += 1
        self.send_response(503 if Handler.asked == 1 else 200)
        self.end_headers()

    def log_message(self, *_):
        pass

def end(*_):
    note.write(f"{name} ended\\n")
    sys.exit(0)

signal.signal(signal.SIGTERM, end)
server = HTTPServer(("127.0.0.1", int(port)), Handler)
note.write(f"{name} started\\n")
if "once" in sys.argv:
    sys.exit(3)
server.serve_forever()
"""


class Beside:
    """The program, in a folder where ``python -m ui`` is the stand-in too."""

    def __init__(self, folder: Path) -> None:
        self.service, self.page = free_port(), free_port()
        self.folder = folder
        (folder / "ui").mkdir()
        (folder / "ui" / "beside.py").write_bytes((ROOT / "ui" / "beside.py").read_bytes())
        (folder / "ui" / "__main__.py").write_text(STAND_IN)

    def stand_in(self, *words: str) -> list[str]:
        return [sys.executable, "ui/__main__.py", "service", str(self.service), *words]

    def start(self, *words: str) -> subprocess.Popen[str]:
        url = f"http://127.0.0.1:{self.service}"
        command = [sys.executable, "-m", "ui.beside", "--url", url, "--port", str(self.page)]
        return subprocess.Popen(
            [*command, "--", *self.stand_in(*words)],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            text=True,
        )

    def notes(self) -> list[str]:
        file = self.folder / "notes"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def beside(tmp_path: Path) -> Beside:
    return Beside(tmp_path)


def test_a_service_starts_and_ends_with_the_page(beside: Beside) -> None:
    process = beside.start()
    assert process.stdout is not None
    said = process.stdout.readline()
    assert f"http://127.0.0.1:{beside.page} " in said
    assert f"(its service: http://127.0.0.1:{beside.service})" in said
    process.send_signal(signal.SIGINT)

    assert process.wait(30) == 0
    assert sorted(beside.notes()[:2]) == ["page started", "service started"]
    # The page first: what it had asked for is then cancelled.
    assert beside.notes()[2:] == ["page ended", "service ended"]


def test_a_service_that_is_there_is_used_and_stays(beside: Beside) -> None:
    there = subprocess.Popen(beside.stand_in(), cwd=beside.folder)
    try:
        wait_until(beside.notes, "the service")
        process = beside.start()
        assert process.stdout is not None
        assert "(the service: " in process.stdout.readline()
        process.terminate()
        assert process.wait(30) == 0
        assert beside.notes() == ["service started", "page started", "page ended"]
        assert there.poll() is None
    finally:
        there.terminate()
        there.wait(30)


def test_it_ends_with_a_service_that_does_not_start(beside: Beside) -> None:
    process = beside.start("once")

    assert process.wait(30) == 3
    assert process.stdout is not None
    assert process.stdout.read() == ""
    assert "service started" in beside.notes()
