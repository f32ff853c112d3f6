"""Measurements across processes, with room on the disk and without."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

BEGINNING = """
import os
from pathlib import Path
from serving import metrics_files
metrics_files.install()
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])

def report():
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return generate_latest(registry).decode()

counter = Counter("pictures", "Pictures", ["model"])
"""


def run(folder: Path, code: str) -> str:
    """What a process prints whose measurements are in ``folder``."""
    process = subprocess.run(
        [sys.executable, "-c", BEGINNING + code],
        cwd=ROOT,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout + process.stderr


def test_files_have_all_their_blocks_and_grow(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        """
for number in range(2000):
    counter.labels("a rather long name of a model" + str(number)).inc()
(file,) = folder.iterdir()
assert file.stat().st_blocks * 512 >= file.stat().st_size > 2**16
print(report().count("pictures_total{"))
""",
    )
    assert said.split() == ["2000"]


def test_a_file_is_never_seen_empty(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
import threading
over = threading.Event()
def read():
    while not over.is_set():
        report()
failed = []
threading.excepthook = failed.append
reader = threading.Thread(target=read)
reader.start()
for number in range(300):
    metrics_files.AllocatedDict(str(folder / f"counter_{number}.db"))
over.set()
reader.join()
assert not failed, failed
""",
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount")
    if done.returncode:
        pytest.skip(f"a disk cannot be mounted: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


FILL = """
with (folder / "filler").open("wb", buffering=0) as filler:
    try:
        while True:
            filler.write(bytes(4096))
    except OSError:
        pass
"""


def test_what_a_full_disk_has_no_room_for_is_left_out(small_disk: Path) -> None:
    said = run(
        small_disk,
        """
counter.labels("before").inc()
"""
        + FILL
        + """
gauge = Gauge("depth", "Depth", multiprocess_mode="livesum")
gauge.set(3)
for number in range(2000):
    counter.labels("a rather long name of a model" + str(number)).inc()
counter.labels("before").inc()
first = report()
assert 'pictures_total{model="before"} 2.0' in first
assert "depth" not in first
(folder / "filler").unlink()
gauge.set(4)
counter.labels("a rather long name of a model1999").inc()
later = report()
assert "depth 4.0" in later
assert 'model1999"} 2.0' in later
""",
    )
    assert "a measurement is left out: No space left on device" in said


def test_a_full_disk_from_the_start(small_disk: Path) -> None:
    run(small_disk, FILL + "counter.labels('a').inc()\nassert report() == ''")
