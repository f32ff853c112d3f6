"""What all the abuse before has left behind in the server."""

from __future__ import annotations

from tests.abuse.target import Target


def test_the_memory_is_that_after_the_warm_up(victim: Target) -> None:
    victim.assert_memory_is_given_back()


def test_the_metrics_have_not_grown_with_what_clients_made_up(victim: Target) -> None:
    """Series are kept for ever: their number must not be in the hands of clients."""
    metrics = victim.server.client.get("/metrics").text

    assert len(metrics) < 1_000_000
    paths = {
        line.partition('endpoint="')[2].partition('"')[0]
        for line in metrics.splitlines()
        if line.startswith("bentoml_api_server_request_total")
    }
    # Those that there are, and the probes.
    documented = victim.server.client.get("/docs.json").json()["paths"]
    assert len(paths) <= len(documented) + 10, paths


def test_no_fault_of_the_service_is_in_its_log(victim: Target) -> None:
    victim.assert_no_fault_in_log()


def test_it_makes_pictures(victim: Target) -> None:
    assert victim.server.ready()
    victim.assert_makes_pictures()
