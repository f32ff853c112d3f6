"""``python -m deployment.ray``: Ray and the application, until SIGTERM."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest

from tests.integration.server import ROOT, START_SECONDS, WAIT_SECONDS, wait_until

LONG = {"prompt": "x", "num_inference_steps": 150, "width": 160, "height": 160}

pytestmark = pytest.mark.slow


def test_it_serves_until_sigterm_and_finishes_what_it_has(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    log = tmp_path / "log"
    settings = {"SD_DEVICE": "cpu", "SD_CLASSIFIER": "none", "SD_MAX_PIXELS": "2400000"}
    # Ray puts sockets into the folder, whose paths may have 107 characters.
    with TemporaryDirectory(prefix="ray-") as folder, log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "deployment.ray", "--port", url.rpartition(":")[2]),
                *("--folder", folder, "models=embedded", "ingress_replicas=1", "num_cpus=0.1"),
            ],
            cwd=ROOT,
            env={**os.environ, **settings},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:

            def ready() -> bool:
                assert process.poll() is None, log.read_text()[-5000:]
                try:
                    return httpx.get(f"{url}/readyz").status_code == 200
                except httpx.TransportError:
                    return False

            wait_until(ready, "a service that is ready", START_SECONDS)
            with ThreadPoolExecutor(1) as pool:
                headers = {"X-Request-Id": "the-long-one"}
                slow = pool.submit(
                    httpx.post, f"{url}/txt2img", json=LONG, headers=headers, timeout=WAIT_SECONDS
                )
                wait_until(lambda: "the-long-one accepted" in log.read_text(), "the work to begin")
                process.send_signal(signal.SIGTERM)
                response = slow.result()
            assert response.status_code == 200
            assert response.content.startswith(b"\x89PNG")
            assert process.wait(WAIT_SECONDS) == 0
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["models=nothing"], "nothing"),
        (["model=embedded"], "model"),
        (["models=embedded", "num_gpus=2"], "num_gpus"),
        (["--host", "0.0.0.0"], "0.0.0.0 can be reached from other machines"),
    ],
)
def test_a_mistake_is_named_before_anything_starts(given: list[str], said: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "deployment.ray", *given],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_SECONDS,
    )
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert said in run.stderr
    assert "Traceback" not in run.stderr, last
