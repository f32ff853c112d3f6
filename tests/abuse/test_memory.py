"""What all the abuse before has left behind in the server."""

from __future__ import annotations

from tests.abuse.target import Target
from tests.integration.server import wait_until

# Of the memory after the warm-up, which is as large as what is allowed makes it.
GROWTH = 1.2
# Of the two decoders: less is only that of processes which have just replaced others.
USED_DECODERS = 60e6


def test_the_memory_is_that_after_the_warm_up(victim: Target) -> None:
    victim.assert_idle()
    found: dict[str, str] = {}
    decoders = max(USED_DECODERS, victim.settled["decoders"])
    allowed = victim.settled | {"decoders": decoders}

    def settled() -> bool:
        resident = victim.resident()
        found.update(
            {
                name: f"{victim.settled[name] / 1e6:.0f} MB, then {now / 1e6:.0f} MB"
                for name, now in resident.items()
            }
        )
        return all(now <= GROWTH * allowed[name] for name, now in resident.items())

    try:
        # What was given back may take a moment: processes that end, buffers of closed sockets.
        wait_until(settled, "memory to be given back", 20)
    except AssertionError as error:
        raise AssertionError(f"{error}: {found}") from error


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
    log = victim.server.log.read_text(errors="replace")

    assert "Traceback" not in log
    assert "internal error" not in log
    # About as much as its requests, not as their bytes.
    assert len(log) < 20_000_000


def test_it_makes_pictures(victim: Target) -> None:
    assert victim.server.ready()
    victim.assert_makes_pictures()
