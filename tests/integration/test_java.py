"""Java's own HTTP client with its defaults: it offers to speak HTTP/2 in the first request."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.server import Server

CLIENT = Path(__file__).with_name("Client.java")


@pytest.mark.skipif(shutil.which("java") is None, reason="there is no java")
def test_it_gets_pictures(any_host: Server) -> None:
    process = subprocess.run(
        ["java", str(CLIENT), any_host.url],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.stdout.splitlines() == ["200 image/png HTTP_1_1"] * 3, process.stderr
