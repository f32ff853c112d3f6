"""Kubernetes manifests as they are applied, and what is wrong with them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.deployment.tools import tool

_PROGRAM = Path(__file__).with_name("check_manifests.py")


def built(folder: Path) -> list[dict[str, Any]]:
    """What ``kubectl apply -k`` would apply; skips the test where kubectl is missing."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def faults(documents: Sequence[dict[str, Any]]) -> list[str]:
    """What the schemas of Kubernetes and of the custom resources do not accept, a sentence each."""
    done = subprocess.run(
        [tool("python"), str(_PROGRAM)],
        input=json.dumps(documents),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said: list[str] = json.loads(done.stdout)
    return said


def one(documents: Sequence[dict[str, Any]], kind: str, name: str | None = None) -> dict[str, Any]:
    """The one document of this kind (and name)."""
    (found,) = (
        document
        for document in documents
        if document["kind"] == kind and name in (None, document["metadata"]["name"])
    )
    return found
