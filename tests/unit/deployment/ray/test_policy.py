"""How many replicas the work asks for."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deployment.ray import policy
from deployment.ray.policy import ROW_STEPS, WorkPolicy


def context(row_steps: dict[str, float], requests: float = 0, queued: float = 0) -> Any:
    """What the controller knows; replicas are its own objects there."""
    return SimpleNamespace(
        aggregated_metrics={ROW_STEPS: row_steps} if row_steps else None,
        total_num_requests=requests,
        total_queued_requests=queued,
    )


@pytest.mark.parametrize(
    ("row_steps", "requests", "queued", "wanted"),
    [
        ({}, 0, 0, 0),
        ({"a": 0.0, "b": 0.0}, 0, 0, 0),
        ({"a": 100.0}, 1, 0, 1),
        ({"a": 400.0}, 1, 0, 1),
        ({"a": 401.0}, 1, 0, 2),
        ({"a": 600.0, "b": 700.0}, 2, 0, 4),
        # None has them yet.
        ({}, 3, 3, 1),
        ({}, 30, 30, 3),
        ({"a": 390.0}, 12, 1, 2),
        # All but done, and not yet delivered.
        ({"a": 0.0}, 1, 0, 1),
    ],
)
def test_replicas_for_the_work(
    row_steps: dict[str, float], requests: float, queued: float, wanted: int
) -> None:
    decide = WorkPolicy(target_row_steps=400, row_steps_per_request=40)
    assert decide(context(row_steps, requests, queued)) == (wanted, {})


def test_the_module_can_be_carried_elsewhere_by_its_text() -> None:
    tree = ast.parse(Path(policy.__file__).read_text(encoding="utf-8"))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names
