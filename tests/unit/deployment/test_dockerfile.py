"""The Dockerfile that BentoML makes of the template, for each device."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from bentoml._internal.bento.build_config import BentoBuildConfig
from bentoml._internal.container.generate import generate_containerfile

from deployment.bento.build import described
from deployment.bento.packages import ROOT
from deployment.bento.recipe import Precision, choose
from models.catalog import load_catalog
from tests.unit.deployment.dockerfiles import complaints, instructions


def dockerfile(folder: Path, precision: Precision) -> str:
    recipe = choose([load_catalog().get("embedded")], precision)
    description = described(recipe, version="1.2.3", revision="abc", epoch=1_700_000_000)
    config = BentoBuildConfig.load(description).with_defaults()
    text: str = generate_containerfile(
        config.docker, str(ROOT), conda=config.conda, bento_fs=folder, enable_buildkit=False
    )
    return text


@pytest.fixture(params=["fp32", "fp16"])
def text(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(ROOT)
    return dockerfile(tmp_path, request.param)


def test_it_passes_the_linter(text: str, tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(text)

    assert complaints(file) == ""


def test_packages_models_and_code_are_layers_in_this_order(text: str) -> None:
    steps = ("install.sh", "COPY ./models", "COPY ./src ./src/", "COPY ./bento.yaml")

    places = [text.index(step) for step in steps]
    assert places == sorted(places)
    assert "COPY . " not in text


def test_it_runs_without_root(text: str) -> None:
    steps = instructions(text)
    names = [name for name, _ in steps]

    assert [arguments for name, arguments in steps if name == "USER"] == ["1034:1034"]
    assert names[names.index("USER") :] == ["USER", "ENTRYPOINT"]


def test_its_root_file_system_may_be_read_only(text: str) -> None:
    """All that is written is in a volume or in /tmp, and the code is not the user's."""
    steps = instructions(text)

    (volumes,) = [json.loads(arguments) for name, arguments in steps if name == "VOLUME"]
    assert volumes == ["/var/lib/bentoml"]
    assert f"BENTOML_HOME={volumes[0]}" in text
    assert "TRITON_CACHE_DIR=/tmp/" in text
    assert "PYTHONDONTWRITEBYTECODE=1" in text
    assert not [step for step in steps if step[0] in ("COPY", "ADD") and "--chown" in step[1]]
    assert "chown" not in text
    assert "chmod" not in text


def test_it_runs_as_any_user_of_group_0(text: str) -> None:
    """OpenShift's users have no name and no home, and are in that group."""
    assert "install --directory --owner 1034 --group 0 --mode 2770 /var/lib/bentoml" in text
    assert "HOME=/var/lib/bentoml" in text
    assert "TORCHINDUCTOR_CACHE_DIR=/tmp/" in text


def test_its_base_is_one_image(text: str) -> None:
    base = next(arguments for name, arguments in instructions(text) if name == "FROM")
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", base)


def test_its_labels_are_those_of_the_build(text: str) -> None:
    (labels,) = [arguments for name, arguments in instructions(text) if name == "LABEL"]
    named = dict(item.split("=", 1) for item in shlex.split(labels))

    prefix = "org.opencontainers.image"
    assert named[f"{prefix}.title"].startswith("stable_diffusion_fp")
    assert named[f"{prefix}.version"] == "1.2.3"
    assert named[f"{prefix}.revision"] == "abc"
    assert named[f"{prefix}.created"] == "2023-11-14T22:13:20+00:00"
    assert named[f"{prefix}.licenses"] == "Apache-2.0"
    assert named[f"{prefix}.description"]


class Probe(BaseHTTPRequestHandler):
    """A service whose ``/readyz`` says what the server's ``status`` is."""

    def do_GET(self) -> None:
        self.send_response(self.server.status if self.path == "/readyz" else 404)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.mark.parametrize("ready", [True, False])
def test_its_health_is_that_of_readyz(text: str, ready: bool) -> None:
    (check,) = [arguments for name, arguments in instructions(text) if name == "HEALTHCHECK"]
    program, *arguments = json.loads(check.partition("CMD ")[2])
    assert program == "python"

    with HTTPServer(("127.0.0.1", 0), Probe) as server:
        server.status = 200 if ready else 503  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = {**os.environ, "PORT": str(server.server_port), "NO_PROXY": "127.0.0.1"}
        asked = subprocess.run(
            [sys.executable, *arguments], env=environment, capture_output=True, check=False
        )
        server.shutdown()
    assert (asked.returncode == 0) is ready, asked.stderr


def test_the_image_takes_no_gpus_by_itself(text: str) -> None:
    """``--gpus``, or a pod's request, says which: in a shared cluster others have GPUs, too."""
    assert "NVIDIA_VISIBLE_DEVICES" not in text


def test_packages_are_installed_by_their_hashes_before_torch(text: str) -> None:
    (step,) = [step for _, step in instructions(text) if "--require-hashes" in step]
    by_hash, rest = step.split("&&")
    assert {"--no-deps", "--require-hashes", "--only-binary"} < set(by_hash.split())
    assert by_hash.split()[-2:] == ["--requirement", "./src/requirements.hashes"]
    assert rest.endswith("bash ./env/python/install.sh")
