"""Servers are started, and nothing of them stays."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.__main__ import _agenda
from benchmarks.contestant import CONTESTANTS, Choice, Contestant
from benchmarks.server import StartFailed, environment, started, stop
from benchmarks.workloads import SEVERAL, WORKLOADS

# A server that is ready at once, with a child that ignores requests to end.
SERVER = """
import subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_what_a_server_says_when_it_fails_is_shown() -> None:
    contestant = Contestant("broken", "", ("-c", "print('no such model'); raise SystemExit(3)"))
    with (
        pytest.raises(StartFailed, match=r"exited with 3 .*\nno such model"),
        started(contestant, Choice()),
    ):
        pass


def test_a_server_ends_with_all_that_it_started() -> None:
    contestant = Contestant("sturdy", "", ("-c", SERVER, "{port}"))
    ended = {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    before = set(psutil.Process().children(recursive=True))
    with started(contestant, Choice()) as server:
        assert server.url.startswith("http://127.0.0.1:")
        family = [
            process
            for process in set(psutil.Process().children(recursive=True)) - before
            # Other tests may have left children that have ended.
            if process.status() not in ended and "-c" in process.cmdline()
        ]
        assert len(family) == 2
    assert not any(process.is_running() and process.status() not in ended for process in family)


def test_stop_takes_a_process_that_has_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    stop(process)


def test_stop_is_quick_with_one_that_obeys() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    began = time.monotonic()
    stop(process)
    assert time.monotonic() - began < 20
    assert process.returncode is not None


def test_a_contestant_gets_the_workloads_that_it_serves() -> None:
    everything = _agenda(None, None, quick=False)
    assert everything["ours"] == list(WORKLOADS)
    assert everything["ray_serve_models"] == ["several"]
    assert "several" not in everything["ray_serve_batch"]
    assert _agenda(["ours", "ray_serve_models"], ["several"], quick=True) == {
        "ours": ["several"],
        "ray_serve_models": ["several"],
    }
    assert _agenda(["ray_serve_models"], ["mixed"], quick=False) == {}


def test_ours_gets_its_defaults_and_the_others_their_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SD_THREADS", "7")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    choice = Choice(threads=2, idle="sleep", max_latency_ms=9)
    ours, other = (
        environment(CONTESTANTS[name], choice, tmp_path, "cpu")
        for name in ("ours", "bentoml_adaptive")
    )
    assert "SD_THREADS" not in ours
    assert ours["SD_MODELS"] == "embedded"
    several = environment(CONTESTANTS["ours"], choice, tmp_path, "cpu", SEVERAL)
    assert several["SD_MODELS"] == "embedded,embedded-xl,embedded-xl-refiner,embedded-3"
    assert "OMP_WAIT_POLICY" not in ours
    assert "OMP_NUM_THREADS" not in other
    assert other["BENCH_THREADS"] == "2"
    assert other["OMP_WAIT_POLICY"] == "PASSIVE"
    assert other["BENCH_MAX_LATENCY_MS"] == "9"
