"""What is set before torch is loaded."""

from __future__ import annotations

import os
import subprocess
import sys

from assembly.environment import DEFAULTS
from tests.conftest import ROOT

PREPARE = """
import os, sys
from assembly import environment
environment.prepare()
print(os.environ["GOMP_SPINCOUNT"], os.environ["OMP_WAIT_POLICY"])
print({"torch", "transformers"} & sys.modules.keys())
"""


def test_what_is_set_already_stays_and_nothing_is_imported() -> None:
    bare = {name: value for name, value in os.environ.items() if name not in DEFAULTS}
    done = subprocess.run(
        [sys.executable, "-c", PREPARE],
        cwd=ROOT,
        env={**bare, "GOMP_SPINCOUNT": "5"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n") == ["5 PASSIVE", "set()", ""]
