"""The observation of a deployment: its replicas, nodes and queue, once a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from prometheus_client.samples import Sample as Measured

from benchmarks import series

POLL_SECONDS = 1.0
ANSWER_SECONDS = 5.0
ON_RAY = "ray_"
REPLICAS = "ray_serve_deployment_replica_healthy"
ENGINES = "engine_"  # how the deployments with engines are named


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was there at a moment; None where it is not known.

    Attributes:
        time: seconds since the start of the load; of an observation, of ``time.monotonic()``.
        replicas: engines that run.
        nodes: machines that have one, or are there for one.
        waiting: jobs that no engine has begun; ``running`` those that are being denoised.
    """

    time: float
    replicas: int | None = None
    nodes: int | None = None
    waiting: float | None = None
    running: float | None = None


def sample(time: float, measured: Iterable[Measured]) -> Sample:
    """What measurements of BentoML's host, of Ray's nodes or of a Prometheus tell."""
    depth: dict[str, float] = {}
    replicas: set[str] = set()
    nodes: set[str] = set()
    on_ray = False
    for one in measured:
        if one.name.removeprefix(ON_RAY) == "sd_queue_depth":
            state = one.labels["state"]
            depth[state] = depth.get(state, 0.0) + one.value
            if one.name.startswith(ON_RAY) and "NodeAddress" in one.labels:
                nodes.add(one.labels["NodeAddress"])
        elif one.name == REPLICAS and one.labels.get("deployment", "").startswith(ENGINES):
            on_ray = True
            if one.value > 0:
                replicas.add(one.labels["replica"])
        elif one.name.startswith(ON_RAY):
            on_ray = True
    return Sample(
        time=time,
        replicas=len(replicas) if on_ray else None,
        nodes=len(nodes) if on_ray else None,
        waiting=depth.get("waiting", 0.0 if on_ray else None),
        running=depth.get("running", 0.0 if on_ray else None),
    )


class Observation:
    """Reads measurements in a thread of its own.

    Args:
        urls: where they are.
        headers: that go with each request.

    Attributes:
        samples: in the order of their times, ``time.monotonic()``.
        failure: why the last look failed; None where it did not.
    """

    def __init__(self, urls: Sequence[str], headers: Mapping[str, str]) -> None:
        self.samples: list[Sample] = []
        self.failure: str | None = None
        self._urls = urls
        self._headers = headers
        self._end = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Look in the block."""
        thread = threading.Thread(target=self._look_on, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._end.set()
            thread.join()

    def since(self, start: float) -> list[Sample]:
        """The samples with their times since ``start``."""
        return [replace(one, time=one.time - start) for one in self.samples if one.time >= start]

    def _look_on(self) -> None:
        while True:
            try:
                self.samples.append(self._look())
                self.failure = None
            except (OSError, ValueError, KeyError) as error:
                self.failure = str(error)
            if self._end.wait(POLL_SECONDS):
                return

    def _look(self) -> Sample:
        measured = [
            one for url in self._urls for one in series.read(url, ANSWER_SECONDS, self._headers)
        ]
        return sample(time.monotonic(), measured)
