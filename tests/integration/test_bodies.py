"""What bodies can do to a real server: one that is strict about their time and their memory."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import PIL.Image
import psutil
import pytest

from tests import uploads
from tests.integration.server import WAIT_SECONDS, Server, serving, wait_until

MIB = 1024 * 1024
MAX_BODY = 12 * MIB
PICTURE = uploads.encode(uploads.red_and_blue())
DATA = '{"prompt": "x", "num_inference_steps": 1, "strength": 1}'
# A second and more: a pass over sixteen megapixels each.
SLOW = uploads.progressive(90, side=4000)
DECODE_SECONDS = 0.6


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with short time limits."""
    folder = tmp_path_factory.mktemp("strict")
    limits = {"SD_BODY_IDLE_SECONDS": "3", "SD_DECODE_SECONDS": str(DECODE_SECONDS)}
    with serving(folder, host="local", **limits) as server:
        yield server


class Upload:
    """A connection with a request whose body comes by and by."""

    def __init__(
        self,
        server: Server,
        path: str,
        length: int | None,
        *headers: str,
        kind: str = "multipart/form-data; boundary=B",
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), WAIT_SECONDS)
        size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        host = f"Host: 127.0.0.1:{server.port}"
        head = [f"POST {path} HTTP/1.1", host, f"Content-Type: {kind}", size, *headers]
        self.socket.sendall("\r\n".join([*head, "", ""]).encode())

    def chunk(self, data: bytes) -> None:
        self.socket.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def answer(self) -> http.client.HTTPResponse:
        response = http.client.HTTPResponse(self.socket)
        response.begin()
        return response

    def answered(self) -> bool:
        """Whether a response has come."""
        self.socket.settimeout(0.001)
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except TimeoutError:
            return False
        finally:
            self.socket.settimeout(WAIT_SECONDS)


def form(picture: bytes = PICTURE, data: str = DATA) -> dict[str, Any]:
    return {"img": picture, "data": data}


def encoded(files: dict[str, Any]) -> tuple[bytes, str]:
    """A body, and its content type."""
    request = httpx.Request("POST", "http://host", files=files)
    return request.read(), request.headers["content-type"]


def decoders(server: Server) -> set[int]:
    """The process ids of the server's decoding processes."""
    children = psutil.Process(server.process.pid).children(recursive=True)
    return {one.pid for one in children if "api.decoding.worker" in one.cmdline()}


def error_of(response: http.client.HTTPResponse) -> dict[str, str]:
    return dict(json.loads(response.read())["error"])


class Prober:
    """Asks for ``/livez`` again and again; ``slowest`` is the longest that one took, in seconds."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._over = Event()
        self._thread = Thread(target=self._probe)
        self.slowest = 0.0

    def _probe(self) -> None:
        with httpx.Client(base_url=self._server.url, timeout=WAIT_SECONDS) as client:
            while not self._over.is_set():
                started = time.monotonic()
                assert client.get("/livez").status_code == 200
                self.slowest = max(self.slowest, time.monotonic() - started)

    def __enter__(self) -> Prober:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


HOSTILE = {
    "objects": b'{"prompt":"a","loras":[' + b"{}," * 3_000_000 + b"{}]}",
    "fields": b'{"prompt":"a"' + b',"n":1' * 1_500_000 + b"}",
    "small-objects": b'{"prompt":"a","loras":[' + b"{}," * 21_000 + b"{}]}",
    "small-fields": json.dumps({f"f{index}": 1 for index in range(5000)}).encode(),
    "brackets": b"[" * 65_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_the_server_lives_while_hostile_json_comes(strict: Server, name: str) -> None:
    """One body of the first kind stopped it for twenty seconds."""
    headers = {"Content-Type": "application/json"}

    def send(_: int) -> int:
        with httpx.Client(base_url=strict.url, timeout=WAIT_SECONDS) as client:
            return client.post("/txt2img", content=HOSTILE[name], headers=headers).status_code

    with Prober(strict) as prober, ThreadPoolExecutor(4) as pool:
        statuses = set(pool.map(send, range(12)))
    assert statuses == {413 if len(HOSTILE[name]) > 65_536 else 400}
    # It shares two cores with the clients.
    assert prober.slowest < 5


@pytest.mark.slow
@pytest.mark.parametrize("announced", [True, False])
def test_slow_uploads_take_bounded_memory(strict: Server, announced: bool) -> None:
    """200 of them took 2 GB, and stayed."""
    process = psutil.Process(strict.process.pid)
    before = process.memory_info().rss
    with ExitStack() as stack:
        connections = []
        for _ in range(500):
            upload = Upload(strict, "/img2img", MAX_BODY if announced else None)
            stack.enter_context(upload.socket)
            connections.append(upload)
            if announced:
                upload.socket.sendall(bytes(50_000))
            else:
                upload.chunk(bytes(200_000))
        # Of one address, half of 128 MiB: five of those that announce what they are. A few more
        # find room when the first ones are given up, on a slow machine.
        refusals = 400 if announced else 100
        wait_until(lambda: sum(one.answered() for one in connections) >= refusals, "refusals")
        assert process.memory_info().rss - before < 300 * MIB
        refused = [one.answer() for one in connections if one.answered()]
        busy = [response for response in refused if response.status == 429]
        assert len(busy) > refusals / 2
        assert {response.headers["retry-after"] for response in busy} == {"2"}
        assert error_of(busy[0])["code"] == "busy"
    # Nothing stays reserved for those that have left.
    wait_until(
        lambda: strict.client.post("/img2img", files=form()).status_code == 200, "room for bodies"
    )


@pytest.mark.parametrize("path", ["/txt2img", "/img2img", "/classify"])
def test_an_upload_that_stops_is_told_so(strict: Server, path: str) -> None:
    kind = "application/json" if path == "/txt2img" else "multipart/form-data; boundary=B"
    upload = Upload(strict, path, 1000, kind=kind)
    with upload.socket:
        upload.socket.sendall(b"--B")
        response = upload.answer()
        assert response.status == 408
        assert response.headers["connection"] == "close"
        error = error_of(response)
        assert error["code"] == "request_timeout"
        assert error["message"] == (
            "the body must come without a pause of 3 seconds; got 3 bytes of it"
        )
        assert upload.socket.recv(1) == b""


def test_pictures_that_take_too_long_hold_nobody_up(strict: Server) -> None:
    """Two of them stopped all others for half a minute; a template stood in the same queue."""
    before = decoders(strict)
    template = {"prompt": "a {red|green} apple", "expand_prompt": True, "num_inference_steps": 1}

    def post(path: str, files: dict[str, Any]) -> httpx.Response:
        with httpx.Client(base_url=strict.url, timeout=WAIT_SECONDS) as client:
            return client.post(path, files=files)

    with ThreadPoolExecutor() as pool:
        slow = [
            pool.submit(post, "/img2img", form(SLOW)),
            pool.submit(post, "/inpaint", {**form(), "mask": SLOW}),
            pool.submit(post, "/classify", {"img": SLOW}),
        ]
        wait_until(lambda: strict.client.get("/livez").status_code == 200, "the server")
        assert strict.client.post("/txt2img", json=template).status_code == 200
        assert post("/img2img", form()).status_code == 200
        answers = [future.result() for future in slow]
    assert [answer.status_code for answer in answers] == [422, 422, 422]
    for answer, field in zip(answers, ("img", "mask", "img"), strict=True):
        error = answer.json()["error"]
        assert (error["code"], error["field"]) == ("out_of_range", field)
        expected = f"{field} must be decoded within {DECODE_SECONDS} seconds, and is not"
        assert error["message"] == expected
    assert not before & decoders(strict)
    assert f"took more than {DECODE_SECONDS} seconds to decode" in strict.log.read_text()


def test_who_leaves_costs_nothing_any_more(strict: Server) -> None:
    strict.client.post("/classify", files={"img": PICTURE})
    content, kind = encoded(form(SLOW))
    upload = Upload(strict, "/img2img", len(content), kind=kind)
    before = decoders(strict)
    upload.socket.sendall(content)

    def at_work() -> list[int]:
        processes = map(psutil.Process, decoders(strict))
        return [one.pid for one in processes if one.memory_info().rss > 30 * MIB]

    wait_until(at_work, "the decoder to begin")
    (pid,) = at_work()
    upload.socket.close()
    wait_until(lambda: not psutil.pid_exists(pid), "its process to be ended", seconds=1.2)
    assert pid in before


def test_clients_that_ask_before_they_send(strict: Server) -> None:
    content, kind = encoded(form())
    upload = Upload(strict, "/img2img", len(content), "Expect: 100-continue", kind=kind)
    with upload.socket:
        assert upload.socket.recv(1000).startswith(b"HTTP/1.1 100 ")
        upload.socket.sendall(content)
        assert upload.answer().status == 200
    upload = Upload(strict, "/img2img", MAX_BODY + 1, "Expect: 100-continue")
    with upload.socket:
        assert upload.answer().status == 413


def test_usual_clients(strict: Server, tmp_path: Path) -> None:
    content, kind = encoded(form())
    connection = http.client.HTTPConnection("127.0.0.1", strict.port, timeout=WAIT_SECONDS)
    for chunked in (False, True):
        payload: Any = iter([content[:100], content[100:]]) if chunked else content
        headers = {"Content-Type": kind}
        connection.request("POST", "/img2img", payload, headers, encode_chunked=chunked)
        response = connection.getresponse()
        assert response.status == 200
        assert response.read().startswith(b"\x89PNG")
    connection.close()

    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("there is no curl")
    picture = tmp_path / "in.png"
    picture.write_bytes(uploads.encode(PIL.Image.effect_noise((1500, 1500), 90)))
    given = ["-F", f"img=@{picture}", "-F", f"data={DATA}", "-o", str(tmp_path / "out.png")]
    for options in ([], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"]):
        command = [curl, "-sf", *options, *given, f"{strict.url}/img2img"]
        subprocess.run(command, check=True, timeout=WAIT_SECONDS)
        assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_a_shutdown_waits_for_no_upload_and_no_decoder(strict: Server) -> None:
    """The last test: it stops the server, which has two minutes for what it has admitted."""
    content, kind = encoded(form(SLOW))
    stalled = Upload(strict, "/img2img", 1000)
    slow = Upload(strict, "/img2img", len(content), kind=kind)
    with stalled.socket, slow.socket:
        stalled.socket.sendall(b"--B")
        slow.socket.sendall(content)
        wait_until(lambda: not stalled.answered(), "the server")
        stopping = time.monotonic()
        strict.process.terminate()
        for upload in (stalled, slow):
            response = upload.answer()
            assert response.status == 503
            assert response.headers["connection"] == "close"
            assert error_of(response)["code"] == "not_ready"
        assert strict.process.wait(WAIT_SECONDS) == 0
        assert time.monotonic() - stopping < 30
