"""The command, against a small real server, and what measurements tell."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import PIL.Image
import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.__main__ import main
from benchmarks.simulation.observation import Sample, sample

MODELS = {"models": [{"name": "embedded", "defaults": {"width": 64, "height": 64}}]}
BENTOML = """\
sd_queue_depth{state="waiting"} 3.0
sd_queue_depth{state="running"} 2.0
"""
RAY = """\
ray_sd_queue_depth{state="waiting",NodeAddress="10.0.0.1"} 1.0
ray_sd_queue_depth{state="running",NodeAddress="10.0.0.1"} 2.0
ray_sd_queue_depth{state="running",NodeAddress="10.0.0.2"} 4.0
ray_serve_deployment_replica_healthy{deployment="engine_embedded",replica="a"} 1.0
ray_serve_deployment_replica_healthy{deployment="engine_embedded",replica="b"} 1.0
ray_serve_deployment_replica_healthy{deployment="engine_embedded",replica="c"} 0.0
ray_serve_deployment_replica_healthy{deployment="ingress",replica="d"} 1.0
"""
SERVICE = {
    "request": 0.01, "picture": 0.01, "step": 0.002, "row": 0.002, "own_pixels": 4096,
    "error": 0.0, "pictures": 99,
}  # fmt: skip


def measured(text: str) -> Sample:
    families = text_string_to_metric_families(text)
    return sample(1.0, [one for family in families for one in family.samples])


def test_what_is_known_and_what_is_not() -> None:
    assert measured(BENTOML) == Sample(time=1.0, waiting=3.0, running=2.0)
    assert measured(RAY) == Sample(time=1.0, replicas=2, nodes=2, waiting=1.0, running=6.0)
    assert measured("up 1.0") == Sample(time=1.0)
    empty = 'ray_serve_deployment_replica_healthy{deployment="engine_x",replica="a"} 0.0'
    assert measured(empty) == Sample(time=1.0, replicas=0, nodes=0, waiting=0.0, running=0.0)


class Service(BaseHTTPRequestHandler):
    """Answers as this service does, but for the pictures themselves."""

    ready: ClassVar[bool] = True
    keys: ClassVar[set[tuple[str | None, ...]]] = set()

    def do_GET(self) -> None:
        type(self).keys.add((self.headers["X-API-Key"], self.headers["Authorization"]))
        match self.path:
            case "/readyz":
                self._answer(200 if self.ready else 503, b"")
            case "/models":
                self._answer(200, json.dumps(MODELS).encode())
            case "/metrics":
                self._answer(200, BENTOML.encode())
            case _:
                self._answer(404, b"")

    def do_POST(self) -> None:
        type(self).keys.add((self.headers["X-API-Key"], self.headers["Authorization"]))
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        file = BytesIO()
        PIL.Image.new("RGB", (body["width"], body["height"])).save(file, "PNG")
        self._answer(200, file.getvalue())

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_deployment_is_driven_and_a_fleet_compared_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    with serving() as url:
        code = main(
            [
                *("simulate", "--url", url, "--workload", "uniform", "--profile", "steady"),
                *("--duration", "1.5", "--rate", "10", "--side", "32", "--name", "mine"),
                *("--header", "Authorization: secret", "--out", str(tmp_path / "real")),
            ]
        )
    assert code == 0
    assert Service.keys == {("secret", "secret")}
    file = tmp_path / "real" / "simulation.json"
    assert "secret" not in file.read_text()
    report = json.loads(file.read_text())
    (run,) = report["runs"]
    figures = run["figures"]
    assert figures["pictures"] == figures["sent"] > 3
    assert figures["replicas"] is None
    assert "replicas and nodes are unknown" in report["notes"][0]
    assert 3.0 in run["timeline"]["waiting"]
    said = capsys.readouterr().out
    assert "replicas unknown" in said
    assert "replicas: unknown" in (tmp_path / "real" / "simulation.svg").read_text()

    file.write_text(json.dumps({**report, "service": [SERVICE]}))
    arguments = ["simulate", "--fleet", "3", "--against", str(file), "--warm", "1", "2"]
    reports = []
    for name in ("one", "other"):
        assert main([*arguments, "--out", str(tmp_path / name)]) == 0
        reports.append(json.loads((tmp_path / name / "simulation.json").read_text()))
    assert reports[0]["runs"] == reports[1]["runs"]
    assert [run["name"] for run in reports[0]["runs"]] == ["work, 1 warm", "work, 2 warm"]
    assert reports[0]["runs"][0]["figures"]["sent"] == figures["sent"]
    assert reports[0]["against"]["work, 1 warm"]["pictures"] == 0
    assert "against what was measured: " in capsys.readouterr().out
    # Service times of another run: of engines that shared a machine as those of the load did.
    slower = tmp_path / "slower.json"
    slower.write_text(json.dumps({**report, "service": [{**SERVICE, "request": 30.0}]}))
    assert main([*arguments, "--service", str(slower), "--out", str(tmp_path / "third")]) == 0
    third = json.loads((tmp_path / "third" / "simulation.json").read_text())
    assert third["runs"][0]["figures"]["p50"] > 30
    assert third["against"]["work, 1 warm"]["p50"] > 10
    # Those of one that is busy, and of two on one machine.
    both = ["--service", str(file), str(slower), "--replicas-per-node", "2"]
    assert main([*arguments, *both, "--out", str(tmp_path / "fourth")]) == 0
    fourth = json.loads((tmp_path / "fourth" / "simulation.json").read_text())
    assert [each["request"] for each in fourth["service"]] == [SERVICE["request"], 30.0]
    assert fourth["runs"][0] == reports[0]["runs"][0] | {"fleet": fourth["runs"][0]["fleet"]}
    small = tmp_path / "small.json"
    small.write_text(json.dumps({**report, "service": [{**SERVICE, "own_pixels": 1}]}))
    assert main([*arguments, "--service", str(file), str(small)]) == 2
    assert "models of different sizes" in capsys.readouterr().err


def test_a_mistake_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as url:
        Service.ready = False
        try:
            assert main(["simulate", "--url", url]) == 2
        finally:
            Service.ready = True
        assert "is not ready; --wait SECONDS" in capsys.readouterr().err
        for arguments, said in (
            (["--url", url, "--model", "sd-1.5"], "does not serve sd-1.5: choose with --model"),
            (["--url", f"{url}/elsewhere"], "gives 404"),
            (["--url", "127.0.0.1:3000"], "is no address"),
            (["--url", "http://127.0.0.1:9"], "nothing answers at http://127.0.0.1:9"),
            ([], "--url says where"),
            (["--fleet", "2"], "a fleet needs service times"),
            (["--fleet", "2", "--service", str(tmp_path)], "No such file"),
            (["--fleet", "2", "--service", __file__], "not a file of this command"),
            (["--url", url, "--duration", "99999", "--rate", "99"], "1,000,000 requests"),
        ):
            assert main(["simulate", *arguments]) == 2
            assert said in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["simulate", "--rate", "0"])
    assert "not from 0.001 to 1000" in capsys.readouterr().err
