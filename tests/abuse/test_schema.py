"""Requests made from the service's own OpenAPI document, and from mistakes in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.abuse.target import Target
from tests.effort import FULL, effort

pytestmark = pytest.mark.slow

# What a schema cannot say, so that the check for it finds mistakes that are none.
EXCLUDED_CHECKS: Final = {
    # Valid by the schema and rightly refused: bytes that are no picture, a mask of another size,
    # steps x strength below 1, `previews` without a stream, two texts of which one has a limit.
    "positive_data_acceptance": "depends on more than one field, or on what the bytes are",
    # Taken though changed: a field of a list that is null at the same time is not there.
    "negative_data_rejection": "takes some changes for mistakes that make no difference",
}


def test_schemathesis(victim: Target, tmp_path: Path) -> None:
    """No 5xx, and each response as the document says: status, type, headers, schema, methods."""
    run = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "run"),
            f"{victim.server.url}/docs.json",
            *("--url", victim.server.url, "--checks", "all"),
            *("--exclude-checks", ",".join(EXCLUDED_CHECKS)),
            *("--phases", "examples,coverage,fuzzing" if FULL else "examples,fuzzing"),
            *("--max-examples", str(effort(1, 300)), "--no-shrink", "--continue-on-failure"),
            *(("--generation-database", "none") if FULL else ("--generation-deterministic",)),
            # Pictures of the largest size take their time; this is for what hangs.
            *("--request-timeout", "120", "--max-response-time", "120", "--workers", "4"),
            *("--suppress-health-check", "all", "--warnings", "off", "--no-color"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280 if not FULL else None,
        check=False,
    )

    assert run.returncode == 0, run.stdout[-10_000:] + run.stderr[-2_000:]
