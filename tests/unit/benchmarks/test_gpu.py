"""The figures at real size, taken of narrow models on the CPU: same classes, same path."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu_figures import LATENCY_BOUND, ServerFigures
from benchmarks.gpu_load import all_at_once, closed_loop, poisson
from benchmarks.gpu_scale import SCALES
from benchmarks.workloads import Request
from tests.conftest import ROOT
from tests.effort import only_in_full

# What serves or measures servers, none of which a bare machine has.
SERVERS = ("bentoml", "fastapi", "starlette", "uvicorn", "aiohttp", "ray", "prometheus_client")
# As a machine where they are not installed.
BARE = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {SERVERS}:
            raise ModuleNotFoundError(f"no {{name}} here")
sys.meta_path.insert(0, Absent())
from benchmarks.gpu import main
sys.exit(main(sys.argv[1:]))
"""


@only_in_full
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_figure_of_every_model_is_taken_where_nothing_is_installed_that_serves(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", BARE, "--device", "cpu", "--tiny", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "benchmark-cuda.json").read_text())
    assert [each["config"] for each in measured] == list(SCALES)
    for figures in measured:
        assert [each["batch"] for each in figures["step"]] == [1, 2]
        assert all(each["pictures"] and each["p99"] >= each["p50"] for each in figures["server"])
        for name in ("ceiling_tflops", "row_gflop", "serial", "batched", "engine", "offline"):
            assert figures[name] > 0
        ratio = figures["engine"] / figures["serial"]
        assert figures["engine_over_serial"] == pytest.approx(ratio, rel=0.01, abs=0.001)
    page = (tmp_path / "benchmark-cuda.md").read_text()
    for name in SCALES:
        assert f"## {name}" in page


def test_without_a_device_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--quick", "--out", str(tmp_path)]) == 2
    assert "no CUDA device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_sdxl_is_measured_as_mlperf_does() -> None:
    scale = SCALES["sdxl-base"]
    assert (scale.side, scale.steps, scale.scheduler, scale.guidance) == (1024, 20, "euler", 8.0)
    assert scale.negative_prompt is not None
    assert scale.negative_prompt.startswith("normal quality, low quality, ")


def a_request(number: int) -> Request:
    return Request(number, "x", 1, 1.0, 64, "ddim", number)


def test_every_request_is_drawn_once_after_those_that_warm_up() -> None:
    drawn: list[int] = []
    requests = [a_request(number) for number in range(5)]
    assert closed_loop(lambda request: drawn.append(request.number), requests, 2) > 0
    assert sorted(drawn) == sorted([0, 1, *range(5)])
    drawn.clear()
    assert all_at_once(lambda request: drawn.append(request.number), requests) > 0
    assert sorted(drawn) == list(range(5))


def test_clients_who_come_at_random_wait_for_no_other_to_come() -> None:
    drawn: list[int] = []
    latencies = poisson(
        lambda request: drawn.append(request.number), a_request, rate=100.0, seconds=0.3
    )
    assert sorted(drawn) == list(range(len(latencies)))
    assert len(latencies) > 10
    assert len(poisson(lambda request: None, a_request, rate=1e-6, seconds=0.0)) == 1


def test_a_bound_is_one_of_the_slowest() -> None:
    assert ServerFigures.of(0.5, [1.0] * 99 + [LATENCY_BOUND + 1]).within_bound
    assert not ServerFigures.of(0.5, [1.0] * 97 + [LATENCY_BOUND + 1] * 3).within_bound
