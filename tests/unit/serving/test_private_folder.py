"""Where a process tree has its sockets and metrics."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from serving import private_folder
from tests.conftest import ROOT

CODE = """
import sys
from pathlib import Path
from serving import private_folder
private_folder._MEMORY = Path(sys.argv[1])
print(private_folder.private_folder(), flush=True)
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a short path: that of tmp_path is too long for sockets."""
    with TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def start(memory: Path, then: str = "", **environment: str) -> subprocess.Popen[str]:
    """A process that makes its folder in ``memory``."""
    return subprocess.Popen(
        [sys.executable, "-c", CODE + then, str(memory)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def folder_of(process: subprocess.Popen[str]) -> Path:
    assert process.stdout is not None
    return Path(process.stdout.readline().strip())


def test_it_is_private_and_goes_with_its_process(place: Path) -> None:
    with start(place, "input()") as process:
        folder = folder_of(process)
        assert folder.parent == place
        assert folder.stat().st_mode & 0o777 == 0o700
        process.communicate("\n", timeout=60)
    assert list(place.iterdir()) == []


def test_what_a_killed_process_has_left_goes_at_the_next_start(place: Path) -> None:
    with start(place, "input()") as alive, start(place, "input()") as killed:
        kept, left = folder_of(alive), folder_of(killed)
        killed.send_signal(signal.SIGKILL)
        killed.wait(60)
        with start(place) as another:
            another.communicate(timeout=60)
        assert kept.exists()
        assert not left.exists()
        alive.communicate("\n", timeout=60)


def test_without_memory_it_is_in_the_folder_of_temporary_files(place: Path) -> None:
    with start(place / "missing", TMPDIR=str(place)) as process:
        assert folder_of(process).parent == place


def test_a_path_that_is_too_long_for_sockets_is_passed_over(place: Path) -> None:
    long = place / ("x" * 100)
    long.mkdir()
    with start(place / "missing", TMPDIR=str(long)) as process:
        assert folder_of(process).parent == Path("/tmp")


def test_where_there_is_no_place_the_start_says_so(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_folder, "_suits", lambda place: False)
    with pytest.raises(SystemExit, match="cannot start: sockets and metrics need a folder"):
        private_folder.private_folder.__wrapped__()
