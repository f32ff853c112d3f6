"""The lines of docs/clients.md, as they stand there but for the port."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import PIL.Image
import pytest

from tests.conftest import ROOT
from tests.effort import only_in_full
from tests.integration.server import WAIT_SECONDS, Server

KSERVE = ROOT / ".venv-kserve" / "bin" / "python"
NODE_MODULES = ROOT / "tests" / "integration" / "node" / "node_modules"


@pytest.fixture
def lines(server: Server) -> dict[str, str]:
    """The first block of each section, by the section's title."""
    page = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    page = re.sub(r"\b3000\b", str(server.port), page)
    blocks = re.findall(r"^## ([^\n]+)\n\n```\w+\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return dict(blocks)


def of_its_size(path: Path) -> bool:
    """Whether it is a whole picture; removes it."""
    with PIL.Image.open(path) as picture:
        picture.load()
    path.unlink()
    return picture.size == (64, 64)


def test_the_lines_in_python(
    lines: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = {}
    for client in ("openai (Python)", "webuiapi", "replicate"):
        with redirect_stdout(StringIO()) as told:
            exec(lines[client], {})  # in a process of its own it takes seconds
        assert of_its_size(Path("apple.png")), client
        printed[client] = told.getvalue()
    assert printed["webuiapi"].startswith("a (red:1.2) apple on a blue background\nSteps: 20, ")


def test_the_lines_of_a_shell(lines: dict[str, str], tmp_path: Path) -> None:
    _run(["bash", "-euo", "pipefail", "-c", lines["curl"]], tmp_path)
    assert of_its_size(tmp_path / "apple.png")
    assert of_its_size(tmp_path / "green.png")


@only_in_full
def test_the_lines_in_javascript(lines: dict[str, str], tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("Node is not installed: apt-get install nodejs npm")
    if not NODE_MODULES.exists():
        pytest.skip("OpenAI's client for Node is not installed; run: make test-rest")
    # Where the lines look for it.
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    _run(["node", "--input-type=module", "--eval", lines["openai (Node)"]], tmp_path)
    assert of_its_size(tmp_path / "apple.png")


@only_in_full
@pytest.mark.parametrize("client", ["kserve", "tritonclient"])
def test_the_lines_of_kserves_clients(client: str, lines: dict[str, str], tmp_path: Path) -> None:
    if not KSERVE.exists():
        pytest.skip("KServe's clients are not installed; run: make kserve-tools")
    _run([str(KSERVE), "-c", lines[client]], tmp_path)
    assert of_its_size(tmp_path / "apple.png")


def _run(command: list[str], folder: Path) -> None:
    told = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False
    )
    assert told.returncode == 0, told.stderr
