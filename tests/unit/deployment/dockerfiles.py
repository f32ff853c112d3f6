"""Dockerfiles, as tests read them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def instructions(text: str) -> list[tuple[str, str]]:
    """Each instruction of a Dockerfile with its arguments, continued lines joined."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ").splitlines()
    parts = (line.strip().partition(" ") for line in whole if line.strip())
    return [(name, arguments.strip()) for name, _, arguments in parts]


def complaints(file: Path) -> str:
    """What hadolint says of it; empty where it passes."""
    hadolint = Path(sys.executable).with_name("hadolint")
    linted = subprocess.run([hadolint, "--no-color", file], capture_output=True, text=True)
    assert linted.returncode in (0, 1), linted.stderr
    return linted.stdout
