"""Parts between the clients and the engines that are killed: what was in them is lost, no more."""

from __future__ import annotations

import time

import pytest

from tests.integration.ray.cluster import Cluster
from tests.integration.ray.load import Load
from tests.integration.ray.test_losses import PICTURE
from tests.integration.server import START_SECONDS, wait_until

CLIENTS = 4
ENOUGH = 20
# In which Serve may still send requests to a process that is dead.
UNNOTICED_SECONDS = 5.0

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _deployed(cluster: Cluster) -> None:
    cluster.deploy(ingress_replicas=2)
    wait_until(lambda: cluster.running("ingress") == 2, "two ingresses", START_SECONDS)


def test_a_killed_ingress_costs_the_requests_that_it_had(cluster: Cluster) -> None:
    load = Load(cluster, CLIENTS, PICTURE)
    with load.running():
        wait_until(lambda: load.done >= CLIENTS, "the first answers")
        cluster.processes("ingress")[0].kill()
        killed, before = time.monotonic(), load.done
        wait_until(lambda: load.done >= before + ENOUGH, "answers of the other one")

    lost = load.sent - load.statuses[200]
    # One a client is what may have been there; a client that is told so at once may come again.
    assert lost <= 2 * CLIENTS, load.failures
    assert set(load.statuses) <= {200, 500, 503, 0}, load.failures
    assert all(sent < killed + UNNOTICED_SECONDS for sent in load.failed_at), load.failures
    wait_until(lambda: cluster.running("ingress") == 2, "its successor", START_SECONDS)


def test_requests_go_on_without_the_controller(cluster: Cluster) -> None:
    load = Load(cluster, CLIENTS, PICTURE)
    with load.running():
        wait_until(lambda: load.done >= CLIENTS, "the first answers")
        (controller,) = cluster.actors("ServeController")
        controller.kill()
        before = load.done
        wait_until(lambda: load.done >= before + ENOUGH, "answers without it")

    assert load.statuses == {200: load.sent}, load.failures
    wait_until(
        lambda: (
            controller.pid not in {one.pid for one in cluster.actors("ServeController")}
            and cluster.actors("ServeController")
            and cluster.ready()
        ),
        "its successor",
        START_SECONDS,
    )


def test_a_killed_proxy_comes_back_and_nothing_else_is_lost(cluster: Cluster) -> None:
    engines = {one.pid for one in cluster.processes()}
    (proxy,) = cluster.actors("ProxyActor")
    proxy.kill()
    proxy.wait(10)
    wait_until(cluster.ready, "the proxy to be back", START_SECONDS)

    assert cluster.client.post("/txt2img", json=PICTURE).status_code == 200
    assert {one.pid for one in cluster.processes()} == engines
