"""The BentoML host's ports, folders and connections, in a place of its own with a small disk.

The tests share that server and run in order: the last one stops it.
"""

from __future__ import annotations

import math
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from tests.integration.clients import SHORT, post
from tests.integration.server import Server, serving

# Everything that the server may write to, its share of the memory included, and 256 open files.
SMALL_PLACE = (
    *("unshare", "--mount", "sh", "-c"),
    "mount -t tmpfs -o size=24m tmpfs /dev/shm && mkdir /dev/shm/home /dev/shm/tmp"
    ' && ulimit -S -n 256 && exec "$@"',
    "sh",
)
CONNECTIONS = 64


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server in the small place."""
    try:
        subprocess.run([*SMALL_PLACE, "true"], capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a disk cannot be mounted: {error}")
    with serving(
        tmp_path_factory.mktemp("small"),
        wrapper=SMALL_PLACE,
        home=Path("/dev/shm/home"),
        TMPDIR="/dev/shm/tmp",
        SD_MAX_CONNECTIONS=str(CONNECTIONS),
    ) as server:
        yield server


def tree(server: Server) -> list[psutil.Process]:
    """All processes of a server."""
    supervisor = psutil.Process(server.process.pid)
    return [supervisor, *supervisor.children(recursive=True)]


def metrics_folder(server: Server) -> Path:
    (folder,) = {
        Path(process.environ()["PROMETHEUS_MULTIPROC_DIR"]) for process in tree(server)[1:]
    }
    return folder


def test_the_processes_listen_on_one_port(small: Server) -> None:
    ports = {
        connection.laddr.port
        for process in tree(small)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN or connection.type == socket.SOCK_DGRAM
    }
    assert ports == {small.port}


def test_idle_connections_keep_nobody_out(small: Server) -> None:
    with ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(socket.create_connection(("127.0.0.1", small.port)))
        assert post(small, SHORT).status_code == 200
        (api,) = (process for process in tree(small) if "http_api_server" in str(process.cmdline()))
        # Those of the runners' sockets and of the listening one are no clients'.
        assert sum(one.status == "ESTABLISHED" for one in api.net_connections("tcp")) <= CONNECTIONS
    assert small.log.read_text().count("all places for connections are taken") == 1


def test_what_is_no_request_is_refused_in_our_words(small: Server) -> None:
    with socket.create_connection(("127.0.0.1", small.port)) as client:
        client.sendall(b"NONSENSE\r\n\r\n")
        received = b""
        while chunk := client.recv(4096):
            received += chunk
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"invalid_request"' in received


def check_largest_picture(server: Server) -> None:
    """It was measured in another process than the one that knows it now."""
    (model, *_) = server.client.get("/models").json()["models"]
    most = model["max_pixels"]
    assert 64 * 64 * 1.25 <= most < 2_400_000
    side = math.isqrt(most) // 8 * 8
    assert post(server, {**SHORT, "width": side, "height": side}).status_code == 200
    response = post(server, {**SHORT, "width": side + 8, "height": side + 8})
    assert response.status_code == 422
    assert f"at most {most} pixels" in response.json()["error"]["message"]


@pytest.mark.slow
def test_two_services_of_one_home_have_metrics_of_their_own(
    bentoml_server: Server, tmp_path: Path
) -> None:
    assert post(bentoml_server, SHORT).status_code == 200
    drawn = bentoml_server.metric("sd_jobs_total", outcome="ok")
    with serving(tmp_path, home=bentoml_server.home, SD_MAX_PIXELS="") as second:
        before = second.metric("sd_jobs_total", outcome="ok")
        for _ in range(2):
            assert post(second, SHORT).status_code == 200
        assert bentoml_server.metric("sd_jobs_total", outcome="ok") == drawn
        assert second.metric("sd_jobs_total", outcome="ok") == before + 2
        folders = [metrics_folder(server) for server in (bentoml_server, second)]
        assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700] * 2
        check_largest_picture(second)
    assert [folder.parent.exists() for folder in folders] == [True, False]


def test_pictures_need_no_disk(small: Server) -> None:
    processes = tree(small)
    disk = Path(f"/proc/{small.process.pid}/root/dev/shm")
    assert {"home", "tmp"} < {path.name for path in disk.iterdir()}
    with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))
    with pytest.raises(OSError, match="No space left"):
        (disk / "tmp" / "more").write_bytes(bytes(4096))

    for round_ in range(3):
        assert post(small, SHORT).status_code == 200
        wrong = small.client.post("/txt2img", json={"prompt": "a", "width": 65 + round_})
        assert wrong.status_code == 422
        assert small.client.get("/metrics").status_code == 200
        assert small.client.get("/livez").status_code == 200
    assert tree(small) == processes
    assert small.stop() == 0
