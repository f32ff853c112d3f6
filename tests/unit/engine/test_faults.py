"""Real faults: a process that runs out of memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.effort import only_in_full

PROGRAM = """
import json, resource
from pathlib import Path
import torch
from engine.engine import Engine
from engine.pipelines.load import load_model
from engine.weights.memory import release
from models.placement import Placement
from engine.weights.cache import WeightCache
from engine.cpu.threads import ThreadTuner, ThreadPlan
from engine.cpu.tuned import CpuTuned
from models.catalog import load_catalog
from tests.conftest import make_request
from tests.unit.engine.conftest import Client, Recorder

def address_space():
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()

def requests():
    return [
        make_request(seed=seed, width=256, height=256, num_inference_steps=1) for seed in range(8)
    ]

torch.set_num_threads(1)
model = load_model(load_catalog().get("embedded"), Placement("cpu", "fp32"))
recorder = Recorder()
engine = Engine(
    WeightCache.preloaded({"embedded": CpuTuned(model, ThreadTuner([ThreadPlan(1)]))}),
    observer=recorder,
)
Client(engine, requests()[0]).image()
release()
# A pass over eight of these pictures takes 160 MB more, over four of them 80.
limit = address_space() + 120 * 1024**2
resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
clients = [Client(engine, request) for request in requests()]
ends = [type(client.result()).__name__ for client in clients]
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
Client(engine, requests()[0]).image()
engine.close()
print(json.dumps({"ends": ends, "batches": recorder.batches[1:]}))
"""


@only_in_full
@pytest.mark.slow
def test_a_pass_that_does_not_fit_into_memory_is_split() -> None:
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stdout.splitlines()[-1])
    assert report["ends"] == ["Image"] * 8, process.stderr
    assert "halving" in process.stderr
    assert max(report["batches"]) < 8
