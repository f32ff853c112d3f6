"""What the engine measures, as Prometheus sees it across processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

WORKER = """
from contract.observer import RowOutcome, Pass, Phase, WeightKind
from assembly.metrics import PrometheusObserver
observer = PrometheusObserver()
observer.depth(waiting={waiting}, running=1)
observer.denoised(Pass("embedded", (64, 64), ("a#0", "a#1", "b#0"), (2, 2, 1), 2, 6, 0.0, 0.02))
observer.spent(RowOutcome.USEFUL, 5)
observer.spent(RowOutcome.PADDING, 1)
observer.loaded(WeightKind.MODEL, "embedded", 0.7, 2000)
observer.loaded(WeightKind.LORA, "dog:1", 0.2, 300)
observer.evicted(WeightKind.LORA, "dog:1", 100)
observer.phase(Phase.DENOISE, 0.4)
observer.screened("blank", "reject")
observer.out_of_memory()
observer.finished("ok")
{then}
"""
REPORT = """
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""


def run(folder: Path, code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    ).stdout


def test_a_killed_worker_leaves_its_counts_and_takes_its_queue_along(tmp_path: Path) -> None:
    run(tmp_path, WORKER.format(waiting=5, then="import os; os.kill(os.getpid(), 9)"))
    report = run(tmp_path, WORKER.format(waiting=2, then=REPORT))

    assert 'sd_queue_depth{state="waiting"} 2.0' in report
    assert 'sd_jobs_total{outcome="ok"} 2.0' in report
    assert "sd_step_batch_size_count 2.0" in report
    assert 'sd_step_batch_size_bucket{le="2.0"} 0.0' in report
    assert 'sd_step_batch_rows_bucket{le="6.0"} 2.0' in report
    assert "sd_step_seconds_sum 0.04" in report
    assert 'sd_row_steps_total{outcome="useful"} 10.0' in report
    assert 'sd_row_steps_total{outcome="padding"} 2.0' in report
    assert 'sd_model_resident{model="embedded"} 1.0' in report
    assert 'sd_model_load_seconds_count{model="embedded"} 2.0' in report
    assert 'sd_resident_bytes{kind="model"} 2000.0' in report
    assert 'sd_resident_bytes{kind="lora"} 100.0' in report
    assert 'sd_evictions_total{kind="lora"} 2.0' in report
    assert 'sd_evictions_total{kind="model"} 0.0' in report
    assert "sd_lora_load_seconds_sum 0.4" in report
    assert 'sd_step_lora_sets_bucket{le="1.0"} 0.0' in report
    assert "sd_step_lora_sets_sum 4.0" in report
    assert 'sd_job_phase_seconds_sum{phase="denoise"} 0.8' in report
    assert 'sd_screened_images_total{action="reject",check="blank"} 2.0' in report
    assert 'sd_screened_images_total{action="flag",check="nsfw"} 0.0' in report


def test_one_that_has_done_nothing_is_idle(tmp_path: Path) -> None:
    """A fleet is scaled by this: without a value it would never shrink."""
    report = run(
        tmp_path,
        "from assembly.metrics import PrometheusObserver\nPrometheusObserver()\n" + REPORT,
    )
    for state in ("waiting", "running"):
        assert f'sd_queue_depth{{state="{state}"}} 0.0' in report
    assert "sd_out_of_memory_total 0.0" in report
