"""KServe's protocols, spoken by others' clients and by hand, on each host."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import uploads
from tests.conftest import ROOT
from tests.integration.clients import change_models
from tests.integration.server import WAIT_SECONDS, Server

PYTHON = ROOT / ".venv-kserve" / "bin" / "python"
CLIENTS = Path(__file__).parent / "kserve_clients"
BODY = {
    "prompt": "a red apple on a blue background",
    "num_inference_steps": 2,
    "guidance_scale": 3.3,
    "seed": 7,
}


def spoken_by(client: str, url: str, folder: Path) -> Any:
    """What a client's program prints; skips the test where the client is not installed."""
    if not PYTHON.exists():
        pytest.skip("KServe's clients are not installed; run: make kserve-tools")
    picture = folder / "picture.png"
    picture.write_bytes(uploads.encode(uploads.red_and_blue()))
    result = subprocess.run(
        # Isolated: its modules are its environment's own.
        [PYTHON, "-I", CLIENTS / client, url, picture],
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def native(server: Server, **changes: Any) -> bytes:
    response = server.client.post("/txt2img", json={**BODY, **changes})
    assert response.status_code == 200
    return response.content


@pytest.mark.slow
def test_the_client_of_kserve(server: Server, tmp_path: Path) -> None:
    told = spoken_by("rest.py", server.url, tmp_path)
    picture = base64.b64encode(native(server)).decode()

    v1 = told["v1"]
    assert v1["ready"] is True
    assert v1["made"] == [picture]
    assert len(v1["labels"]) == 5
    v2 = told["v2"]
    assert (v2["live"], v2["ready"], v2["model_ready"]) == (True, True, True)
    assert v2["unknown_ready"] is False
    assert v2["image"] == picture
    shape, datatype, brightest = v2["pixels"]
    assert (shape, datatype) == ([1, 72, 64, 3], "uint8")
    assert brightest > 0
    assert v2["labels"] == v1["labels"]
    assert v2["error"].startswith("prompt is required, '400 ")


@pytest.mark.slow
def test_the_client_of_triton(server: Server, tmp_path: Path) -> None:
    told = spoken_by("triton.py", server.url.removeprefix("http://"), tmp_path)

    assert (told["live"], told["ready"], told["model_ready"]) == (True, True, True)
    assert told["unknown_ready"] is False
    assert {"binary_tensor_data", "model_repository"} <= set(told["server"])
    assert told["metadata"] == {"name": "prompt", "datatype": "BYTES", "shape": [1]}
    assert told["config"]["data_type"] == "TYPE_STRING"
    names = [model["name"] for model in told["index"]]
    assert (names[0], names[-1]) == ("embedded", "classifier")
    assert told["id"] == "mine"
    picture = native(server, prompt="a red apple", guidance_scale=None)
    assert bytes.fromhex(told["image"]) == picture
    assert told["compressed"] == [True, True]
    assert told["seeds"] == [7]
    shape, datatype, brightest = told["pixels"]
    assert (shape, datatype) == ([1, 72, 64, 3], "uint8")
    assert brightest > 0
    assert len(told["labels"]) == len(told["scores"]) == 5
    status, message = told["error"]
    assert "422" in status
    assert message == "width must be a multiple of 8, got 65"
    assert told["unload_error"][1] == "classifier is small, and stays in memory"


def test_both_versions(any_host: Server) -> None:
    ask = any_host.client.post
    picture = base64.b64encode(native(any_host)).decode()

    v1 = ask("/v1/models/embedded:predict", json={"instances": [BODY]})
    assert v1.json()["predictions"][0]["images"][0]["data"] == picture
    v2 = ask("/v2/models/embedded/infer", json={"inputs": [], "parameters": BODY})
    assert v2.json()["outputs"][0]["data"] == [picture]
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/embedded/ready", "/v1/models"):
        assert any_host.client.get(path).status_code == 200, path
    for path in ("/v1/models/embedded:predict", "/v2/repository/index", "/v2/models/x/infer"):
        refused = any_host.client.get(path)
        assert (refused.status_code, refused.headers["allow"]) == (405, "POST"), path


def test_names_in_paths_are_not_counted(bentoml_server: Server) -> None:
    """BentoML's metrics keep every path that they see, for ever."""
    for name in ("embedded", "nobody-knows-this-one"):
        bentoml_server.client.get(f"/v2/models/{name}/ready")
        bentoml_server.client.post(f"/v2/models/{name}/infer", json={})

    assert "nobody-knows" not in bentoml_server.client.get("/metrics").text


def test_bentoml_unloads_and_loads_a_model(bentoml_server: Server) -> None:
    change_models(bentoml_server)
