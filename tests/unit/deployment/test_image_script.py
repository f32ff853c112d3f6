"""The program behind ``make container``, with stand-ins for what builds and runs images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployment.bento.packages import ROOT


def program(file: Path, line: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/bash\n{line}\n")
    file.chmod(0o755)


def build(checkout: Path, backend: str, sbom: str) -> subprocess.CompletedProcess[str]:
    """Run the program in a checkout whose images have what ``backend`` prints."""
    tools = checkout / ".venv" / "bin"
    script = checkout / "deployment" / "container" / "build.sh"
    script.parent.mkdir(parents=True)
    script.write_bytes((ROOT / "deployment" / "container" / "build.sh").read_bytes())
    program(tools / "bentoml", 'echo "$PWD: $*"')
    packages = script.with_name("debian_packages.py")
    packages.write_bytes((ROOT / "deployment" / "container" / packages.name).read_bytes())
    program(tools / "cyclonedx-py", f'exec {sys.executable} -m cyclonedx_py "$@"')
    program(tools / "python", f'exec {sys.executable} "$@"')
    program(checkout / "bin" / "podman", backend)
    return subprocess.run(
        ["bash", str(script), "pictures:1"],
        cwd=checkout,
        env={
            "PATH": f"{checkout / 'bin'}:{os.environ['PATH']}",
            "TMPDIR": str(checkout / "bin"),
            "BACKEND": "podman",
            "SBOM": sbom,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_bill_is_of_the_image_and_where_it_was_wanted(tmp_path: Path) -> None:
    image = """
case "$*" in
    "run "*"--entrypoint pip pictures:1 freeze") echo torch==2.13.0+cpu ;;
    "run "*"--entrypoint dpkg-query pictures:1 --show"*) echo bash 5.2.15-2+b10 amd64 ;;
    *) exit 125 ;;
esac"""
    ended = build(tmp_path, image, sbom="bill.json")

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(
        f"{tmp_path / 'bin'}: containerize pictures:1 --image-tag pictures:1 --backend podman"
    )
    packages = json.loads((tmp_path / "bill.json").read_text())["components"]
    assert [(package["name"], package["version"]) for package in packages] == [
        ("torch", "2.13.0+cpu"),
        ("bash", "5.2.15-2+b10"),
    ]


def test_an_image_that_cannot_be_asked_is_a_failure(tmp_path: Path) -> None:
    assert build(tmp_path, "exit 125", sbom="bill.json").returncode != 0


def test_no_bill_unless_it_is_wanted(tmp_path: Path) -> None:
    assert build(tmp_path, "exit 125", sbom="").returncode == 0


@pytest.mark.skipif(not (ROOT / ".venv" / "bin" / "bentoml").exists(), reason="make has no .venv")
def test_make_gets_as_far_as_the_bento(tmp_path: Path) -> None:
    """It works in the folder of temporary files, where what the Makefile sets has to hold too."""
    program(tmp_path / "bin" / "podman", "exit 0")
    ended = subprocess.run(
        [
            *("make", f"--directory={ROOT}", "--assume-old=.venv/.development", "container"),
            *("BENTO=nothing:1", "BACKEND=podman"),
        ],
        env={
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "BENTOML_HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode != 0
    assert "Bento 'nothing:1' is not found" in ended.stderr
