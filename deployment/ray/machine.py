"""Ray on this machine alone, for the application."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

APPLICATION: Final = "stable_diffusion"
# How often replicas and handles tell the controller what they have: it decides how soon there are
# more replicas.
_PUSH_SECONDS: Final = "1"
ENVIRONMENT: Final = {
    # Nothing is reported to anybody.
    "RAY_USAGE_STATS_ENABLED": "0",
    # By default it is 15: an engine would come after whatever else runs on the machine.
    "RAY_worker_niceness": "0",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": _PUSH_SECONDS,
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": _PUSH_SECONDS,
    # Ray looks after a cluster that changes all the time: its controller, node and head look
    # ten times, ten times and once a second. Where there are few cores that is the engines' time.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "1",
    "RAY_raylet_report_resources_period_milliseconds": "1000",
    "RAY_gcs_pull_resource_loads_period_milliseconds": "5000",
}
_OBJECT_STORE_BYTES: Final = 256 * 1024 * 1024


def prepare() -> None:
    """Set what Ray reads when it is imported, in this process and those that it starts."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@dataclass(frozen=True, slots=True)
class Machine:
    """Starts Ray, rather than to join a cluster that is there.

    Attributes:
        cpus: that Ray counts with; None for those that there are.
        gpus: likewise.
        folder: of Ray's files, with a short path, as sockets are in it; None for Ray's own.
        dashboard: whether to start Ray's dashboard, on port 8265.
        metrics_port: where its measurements are; None for any port.
    """

    cpus: int | None = None
    gpus: int | None = None
    folder: Path | None = None
    dashboard: bool = False
    metrics_port: int | None = None

    @contextmanager
    def running(self, host: str, port: int) -> Iterator[None]:
        """Ray and Serve's proxy run in the block; at its end the work in flight is finished."""
        prepare()
        import ray
        from ray import serve

        ray.init(
            address="local",
            # One more for what needs little: the engines may have all that there are.
            num_cpus=self.cpus or (os.cpu_count() or 1) + 1,
            num_gpus=self.gpus,
            include_dashboard=self.dashboard,
            object_store_memory=_OBJECT_STORE_BYTES,
            _temp_dir=None if self.folder is None else str(self.folder.absolute()),
            _metrics_export_port=self.metrics_port,
            _node_ip_address="127.0.0.1",
        )
        try:
            serve.start(http_options={"host": host, "port": port})
            yield
            if APPLICATION in serve.status().applications:
                # Serve's own shutdown would first end the process that clients are connected to.
                serve.get_app_handle(APPLICATION).broadcast("drain").results()
                serve.delete(APPLICATION)
            serve.shutdown()
        finally:
            ray.shutdown()


def deploy(application: Any) -> None:
    """Deploy what ``deployment.ray.app.build`` has made, or update it to that; returns when each of
    its deployments has the replicas that it begins with."""
    from ray import serve

    serve.run(application, name=APPLICATION, route_prefix="/")
