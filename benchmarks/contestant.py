"""The contestants: what each is started with, and what can be set in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.workloads import SEVERAL, SINGLE, Workload
from deployment.ray.machine import ENVIRONMENT as RAY

ROOT = Path(__file__).parents[1]
METRICS_SECONDS = 1.0  # how often Ray's processes hand their measurements on

# OpenMP's settings for threads that wait for the others; those of GNU's, which torch uses.
IDLE = {
    "spin": {},  # its default
    "sleep": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spin briefly": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"},
}


@dataclass(frozen=True, slots=True)
class Choice:
    """What can be set in a contestant, at the value that suits it best.

    Attributes:
        threads: torch's CPU threads.
        idle: what threads do between two pieces of work: a name out of ``IDLE``.
        max_latency_ms: of BentoML's adaptive batching.
        batch_wait: seconds that a batch of Ray Serve waits to fill up.
    """

    threads: int = 1
    idle: str = "sleep"
    max_latency_ms: int = 60_000
    batch_wait: float = 0.05

    def environment(self) -> dict[str, str]:
        return {
            "BENCH_THREADS": str(self.threads),
            "BENCH_MAX_LATENCY_MS": str(self.max_latency_ms),
            "BENCH_BATCH_WAIT": str(self.batch_wait),
            **IDLE[self.idle],
        }


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to serve the model.

    Attributes:
        arguments: of the Python interpreter; ``{port}``, ``{folder}`` and ``{metrics}``, another
            port, are filled in. Empty for the bare loop, which is no server.
        environment: on top of what all get.
        settable: the fields of ``Choice`` that matter to it.
        models: what it can be started with, each time a set of models.
    """

    name: str
    title: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    settable: tuple[str, ...] = ("threads", "idle")
    models: tuple[tuple[str, ...], ...] = (SINGLE,)

    @property
    def is_ours(self) -> bool:
        return self.name in ("ours", "ours_compiled", "ours_on_ray")

    def takes(self, workload: Workload) -> bool:
        """Whether it serves what the workload asks for."""
        return workload.models in self.models


def _bentoml(target: str) -> tuple[str, ...]:
    return ("-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", "{port}")


_OUR_CONFIG = str(ROOT / "configuration.yaml")
_CONFIG = str(ROOT / "benchmarks" / "contestants" / "bentoml.yaml")

CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant(
            "ours",
            "this service",
            _bentoml("service:svc"),
            {"BENTOML_CONFIG": _OUR_CONFIG},
            settable=(),
            models=(SINGLE, SEVERAL),
        ),
        Contestant(
            "ours_compiled",
            "this service, SD_COMPILE=openvino",
            _bentoml("service:svc"),
            {"BENTOML_CONFIG": _OUR_CONFIG, "SD_COMPILE": "openvino"},
            settable=(),
            models=(SINGLE, SEVERAL),
        ),
        Contestant(
            "ours_on_ray",
            "this service on Ray Serve",
            (
                *("-m", "deployment.ray", "--port", "{port}", "--metrics-port", "{metrics}"),
                *("--folder", "{folder}/ray", "models=embedded", "ingress_replicas=1"),
                f"num_cpus={os.cpu_count() or 1}",
            ),
            {"RAY_metrics_report_interval_ms": str(int(1000 * METRICS_SECONDS))},
            settable=(),
        ),
        Contestant(
            "bentoml_example",
            "BentoML, a call for each request",
            _bentoml("benchmarks.contestants.bentoml_example:svc"),
            {"BENTOML_CONFIG": _CONFIG},
        ),
        Contestant(
            "bentoml_adaptive",
            "BentoML, adaptive batching",
            _bentoml("benchmarks.contestants.bentoml_adaptive:svc"),
            {"BENTOML_CONFIG": _CONFIG},
            settable=("threads", "idle", "max_latency_ms"),
        ),
        Contestant(
            "ray_serve_batch",
            "Ray Serve, @serve.batch",
            ("-m", "benchmarks.contestants.ray_serve_batch", "{port}", "{folder}/ray"),
            RAY,  # on a par with ours there
            settable=("threads", "idle", "batch_wait"),
        ),
        Contestant(
            "ray_serve_models",
            "Ray Serve, a deployment with @serve.batch for each model",
            ("-m", "benchmarks.contestants.ray_serve_models", "{port}", "{folder}/ray"),
            RAY,  # on a par with ours there
            settable=("threads", "idle", "batch_wait"),
            models=(SEVERAL,),
        ),
        Contestant("diffusers_loop", "bare diffusers, one after another"),
    )
}
