"""What it costs that a prediction is written down: time over a plain request, accepts a second."""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.killed import Service

_PICTURE: Final = {"prompt": "a red apple on a blue background", "num_inference_steps": 5}
_CLIENTS: Final = 16
_SECONDS: Final = 10.0


def command(options: argparse.Namespace) -> int:
    """``python -m benchmarks overhead``: prints a table."""
    rows = [
        ("host", "local, SQLite" if options.store is None else "local, PostgreSQL"),
        *_latency(options.store, options.pairs),
        *_accepts(options.store),
    ]
    for name, value in rows:
        sys.stdout.write(f"| {name} | {value} |\n")
    return 0


def _latency(store: str | None, pairs: int) -> list[tuple[str, str]]:
    """One client; a plain request and a prediction in turns."""
    with tempfile.TemporaryDirectory() as folder:
        service = Service("local", store, Path(folder))
        try:
            client = _Client(service.port)
            plain, predicted, differences = [], [], []
            for number in range(pairs + 5):
                picture = {**_PICTURE, "seed": number}
                one = client.timed("/txt2img", picture, {})
                other = client.timed("/predictions", {"input": picture}, {"Prefer": "wait"})
                if number >= 5:
                    plain.append(one)
                    predicted.append(other)
                    differences.append(other - one)
        finally:
            service.stop()
    return [
        ("/txt2img, 5 steps, median", _milliseconds(plain)),
        ("the same as a prediction, with Prefer: wait", _milliseconds(predicted)),
        ("difference of each pair, median", _milliseconds(differences)),
    ]


def _accepts(store: str | None) -> list[tuple[str, str]]:
    """As many clients as there may be, and nothing run meanwhile."""
    others = {"SD_PREDICTION_SLOTS": "0", "SD_MAX_PREDICTIONS": "1000000", "SD_LOG_LEVEL": "ERROR"}
    with tempfile.TemporaryDirectory() as folder:
        service = Service("local", store, Path(folder), **others)
        try:
            seconds: list[float] = []
            stop = threading.Event()
            threads = [
                threading.Thread(target=_accept, args=(service.port, stop, seconds))
                for _ in range(_CLIENTS)
            ]
            for thread in threads:
                thread.start()
            time.sleep(_SECONDS)
            stop.set()
            for thread in threads:
                thread.join()
        finally:
            service.stop()
    return [
        (f"accepts a second, {_CLIENTS} clients", f"{len(seconds) / _SECONDS:.0f}"),
        ("an accept, median", _milliseconds(seconds)),
    ]


def _accept(port: int, stop: threading.Event, seconds: list[float]) -> None:
    client = _Client(port)
    while not stop.is_set():
        seconds.append(client.timed("/predictions", {"input": _PICTURE}, {}))


class _Client:
    """A connection that is kept; little work for the machine that is measured."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def timed(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> float:
        """Seconds of a request. Raises RuntimeError where it is refused."""
        began = time.perf_counter()
        given = {"Content-Type": "application/json", **headers}
        self._connection.request("POST", path, json.dumps(body), given)
        response = self._connection.getresponse()
        content = response.read()
        if response.status not in {200, 201}:
            raise RuntimeError(f"{path}: {response.status} {content[:500]!r}")
        return time.perf_counter() - began


def _milliseconds(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.1f} ms"
