"""How many connections there may be, and who gives way."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest

from serving.connections import Connections
from tests.conftest import ROOT
from tests.unit.serving.host import HELLO, WAIT, Host, answer, closed, error, running, until

LIMIT = 16
SHARE = 12  # of one address


class Stub:
    """A connection of nobody's."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.displaced = False

    def displace(self) -> None:
        self.displaced = True


def opened(connections: Connections, *addresses: str) -> list[Stub]:
    """Connections of these addresses that wait, in this order."""
    stubs = [Stub(address) for address in addresses]
    for stub in stubs:
        assert connections.add(stub)
        connections.wait(stub)
    return stubs


def test_the_address_with_most_connections_gives_way_and_its_longest_idle_first() -> None:
    connections = Connections(4)
    lone, first, second, third = opened(connections, "b", "a", "a", "a")
    # A request makes it the last of those that wait; what trickles in does not.
    connections.work(first)
    connections.wait(first)
    connections.wait(second)

    opened(connections, "c", "d")

    assert [stub.displaced for stub in (lone, first, second, third)] == [False, False, True, True]
    assert len(connections) == 4


def test_of_an_address_that_is_all_busy_none_gives_way() -> None:
    connections = Connections(3)
    busy, also_busy, idle = opened(connections, "a", "a", "b")
    connections.work(busy)
    connections.work(also_busy)

    opened(connections, "c")

    assert idle.displaced
    assert not busy.displaced


def test_one_address_has_three_quarters_of_the_places() -> None:
    connections = Connections(4)
    for one in opened(connections, "a", "a", "a"):
        connections.work(one)
    refused = Stub("a")
    assert not connections.add(refused)
    connections.wait(refused)

    idle, _ = opened(connections, "b", "b")
    assert [refused.displaced, idle.displaced] == [True, True]


def test_a_new_one_has_no_place_where_all_are_busy() -> None:
    connections = Connections(1)
    (busy,) = opened(connections, "a")
    connections.work(busy)
    refused = [Stub("a") for _ in range(3)]
    for one in refused:
        # It counts nevertheless, and gives way to the next, which has no place either.
        assert not connections.add(one)
        connections.wait(one)
    assert [one.displaced for one in refused] == [True, True, False]
    assert len(connections) == 2

    connections.remove(busy)
    connections.remove(busy)
    assert len(connections) == 1


def test_idle_connections_never_make_the_server_unreachable() -> None:
    with running(max_connections=LIMIT) as host, ExitStack() as stack:
        busy = stack.enter_context(host.connect())
        busy.sendall(WAIT)
        until(lambda: host.waiting, "the request")
        idle = [stack.enter_context(host.connect()) for _ in range(4 * LIMIT)]

        assert host.ask()[0] == 200
        assert host.connections <= LIMIT
        assert all(closed(one) for one in idle[: -LIMIT + 2])
        idle[-1].sendall(HELLO)
        assert answer(idle[-1])[0] == 200
        host.release()
        assert answer(busy)[0] == 200


def all_busy(host: Host, stack: ExitStack) -> list[socket.socket]:
    """As many requests in flight as there are places for one address."""
    clients = [stack.enter_context(host.connect()) for _ in range(SHARE)]
    for client in clients:
        client.sendall(WAIT)
    until(lambda: host.waiting == SHARE, "the requests")
    return clients


def test_a_new_connection_is_refused_where_all_are_busy() -> None:
    with running(max_connections=LIMIT) as host, ExitStack() as stack:
        clients = all_busy(host, stack)
        status, headers, body = host.ask()
        assert status == 503
        assert headers["retry-after"] == "5"
        assert headers["connection"] == "close"
        assert error(body)["code"] == "not_ready"
        assert error(body)["request_id"] == headers["x-request-id"]
        # An orchestrator would end a process that does not say that it is alive.
        assert host.ask(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")[0] == 200

        host.release()
        assert [answer(client)[0] for client in clients] == [200] * SHARE
        assert host.ask()[0] == 200


def test_connections_without_a_place_give_way_to_each_other() -> None:
    with running(max_connections=LIMIT) as host, ExitStack() as stack:
        all_busy(host, stack)
        for _ in range(2 * LIMIT):
            stack.enter_context(host.connect())
        assert host.ask(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")[0] == 200
        assert host.connections <= SHARE + 1
        host.release()


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "allowed", "raised"),
    [
        (256, 4096, 1000, 1000, 1512),
        (2000, 4096, 1000, 1000, 2000),
        (256, 1024, 1000, 512, 1024),
        (256, 256, 1000, 128, 256),
    ],
)
def test_connections_stay_below_the_limit_on_open_files(
    soft: int, hard: int, wanted: int, allowed: int, raised: int
) -> None:
    code = (
        "import resource; from serving.connections import within_file_limit\n"
        f"print(within_file_limit({wanted}), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert process.stdout.split() == [str(allowed), str(raised)]
    warned = f"SD_MAX_CONNECTIONS is {allowed} instead of {wanted}" in process.stderr
    assert warned == (allowed < wanted)
