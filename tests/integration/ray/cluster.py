"""A cluster of one machine, with the application on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from deployment.ray.arguments import Arguments
from deployment.ray.machine import APPLICATION, Machine, deploy
from tests.integration.server import WAIT_SECONDS, wait_until
from tests.ports import free_port

ENGINE = "engine_embedded"
# As ``server`` and ``bentoml_server`` have it. Pictures are to be the same to the last bit.
SETTINGS = {"SD_THREADS": "1", "SD_DEVICE": "cpu", "SD_MAX_PIXELS": "2400000"}
# Ray places replicas by what is free of its own counting; there is no more than there is.
MANY_CPUS = 16


class Cluster:
    """Ray in this process and those that it starts.

    Attributes:
        url: where the proxy listens, without a trailing slash; ``port`` of it.
        client: an HTTP client for it.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=WAIT_SECONDS)

    def deploy(self, settings: dict[str, str] | None = None, **arguments: Any) -> None:
        """Deploy the application, or update it, and wait until it is ready."""
        inherited = {name: value for name, value in os.environ.items() if name[:3] != "SD_"}
        environment = {**inherited, **SETTINGS, **(settings or {})}
        options = {"models": "embedded", "ingress_replicas": 1, "num_cpus": 0.1, **arguments}
        with patch.dict(os.environ, environment, clear=True):
            from deployment.ray.app import build

            deploy(build(Arguments.model_validate(options)))
        wait_until(self.ready, "the application to be ready")

    def ready(self) -> bool:
        """Whether it says so itself."""
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def running(self, deployment: str = ENGINE) -> int:
        """How many replicas of a deployment run, as the controller knows."""
        from ray import serve

        deployments = serve.status().applications[APPLICATION].deployments
        return int(deployments[deployment].replica_states.get("RUNNING", 0))

    def at_rest(self, deployment: str = ENGINE) -> bool:
        """Whether none of its replicas is there, nor on its way in an update."""
        from ray import serve

        one = serve.status().applications[APPLICATION].deployments[deployment]
        return one.status == "HEALTHY" and not one.replica_states

    def processes(self, deployment: str = ENGINE) -> list[psutil.Process]:
        """The processes of its replicas."""
        return self.actors(f"ServeReplica:{APPLICATION}:{deployment}")

    def actors(self, name: str) -> list[psutil.Process]:
        """The processes of this cluster's actors whose names begin so."""
        there = psutil.Process().children(recursive=True)
        return [one for one in there if _title(one).startswith(f"ray::{name}")]

    def stats(self) -> list[dict[str, Any]]:
        """What each engine says to the router."""
        from ray import serve

        handle = serve.get_deployment_handle(ENGINE, APPLICATION)
        stats: list[dict[str, Any]] = handle.broadcast("record_routing_stats").results()
        return stats

    def work_left(self) -> float:
        """Row-steps x pixels in all engines."""
        return float(sum(one["work_left"] for one in self.stats()))

    def inside(self, call: Callable[[Any], None]) -> None:
        """Call this in the process of an engine, with the replica."""
        import ray

        (name, *_) = (
            one["name"]
            for one in ray.util.list_named_actors(all_namespaces=True)
            if one["name"].startswith(f"SERVE_REPLICA::{APPLICATION}#{ENGINE}#")
        )
        ray.get(ray.get_actor(name, namespace="serve").__ray_call__.remote(call))

    def metrics(self) -> set[str]:
        """The names of all series that this node exports."""
        import ray

        (node,) = ray.nodes()
        # Those of all processes that there were: it takes its time.
        url = f"http://127.0.0.1:{node['MetricsExportPort']}/metrics"
        answer = httpx.get(url, timeout=WAIT_SECONDS)
        families = text_string_to_metric_families(answer.text)
        return {sample.name for family in families for sample in family.samples}


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@contextmanager
def clustering(folder: Path) -> Iterator[Cluster]:
    """Start Ray, and leave nothing behind."""
    port = free_port()
    machine = Machine(cpus=MANY_CPUS, gpus=0, folder=folder)
    with machine.running("127.0.0.1", port):
        cluster = Cluster(port)
        try:
            yield cluster
        finally:
            cluster.client.close()
