"""The notebooks in docs/notebooks, run against a server with the embedded model."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import uploads
from tests.conftest import ROOT
from tests.effort import only_in_full
from tests.integration.server import Server

FOLDER = ROOT / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
PYTHON = ROOT / ".venv-kserve" / "bin" / "python"
PROGRAM = Path(__file__).parent / "kserve_clients" / "notebook.py"


def test_they_are_clean_and_can_be_run() -> None:
    """Code that parses, one cell of parameters, and nothing of a former run."""
    assert [file.stem for file in NOTEBOOKS] == ["fine_tune", "query"]
    for file in NOTEBOOKS:
        cells = json.loads(file.read_text())["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        assert cells[0]["cell_type"] == "markdown"
        assert [cell["metadata"].get("tags") for cell in code[:2]] == [["parameters"], None]
        for cell in code:
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
            flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST
            compile("".join(cell["source"]), file.name, "exec", flags=flags)


def shown_by(notebook: str, folder: Path, **parameters: Any) -> list[str]:
    """Types of what a notebook displays; skips the test where Jupyter is not installed."""
    if not PYTHON.exists():
        pytest.skip("what notebooks need is not installed; run: make kserve-tools")
    result = subprocess.run(
        [PYTHON, "-I", PROGRAM, FOLDER / f"{notebook}.ipynb", json.dumps(parameters)],
        env={**os.environ, "IPYTHONDIR": str(folder), "BENTOML_DO_NOT_TRACK": "True"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    shown: list[str] = json.loads(result.stdout)
    return shown


@pytest.mark.slow
def test_query(server: Server, tmp_path: Path) -> None:
    assert "image/png" in shown_by("query", tmp_path, URL=server.url)


@only_in_full
@pytest.mark.slow
def test_fine_tune(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(server.home))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "one.png").write_bytes(uploads.encode(uploads.noise()))
    exported = tmp_path / "exported"
    monkeypatch.chdir(tmp_path)

    shown = shown_by(
        "fine_tune",
        tmp_path,
        REPOSITORY=str(ROOT),
        PYTHON=sys.executable,
        URL=server.url,
        PICTURES=str(pictures),
        NAME="of-a-notebook",
        STEPS=2,
        EXPORT=str(exported),
    )

    assert "image/png" in shown
    assert list(exported.glob("*.safetensors"))
    subprocess.run(
        [sys.executable, "-m", "models", "remove", "of-a-notebook"], cwd=ROOT, check=True
    )
