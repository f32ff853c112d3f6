"""Importing a module defines things, and does nothing else."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.conftest import ROOT

CODE = """
import logging, pkgutil, importlib, threading
handlers = list(logging.getLogger().handlers)
packages = "api assembly contract engine models runners serving templating".split()
for package in packages:
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
assert threading.active_count() == 1, threading.enumerate()
assert logging.getLogger().handlers == handlers
"""


def test_no_module_reads_settings_or_starts_anything() -> None:
    """But for the composition roots, when they are run."""
    unusable = {"SD_MAX_QUEUE": "none", "SD_CATALOG": "/nowhere", "SD_MODELS": "nope"}
    process = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=ROOT,
        env={**os.environ, **unusable},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
