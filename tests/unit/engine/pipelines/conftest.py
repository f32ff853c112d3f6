"""Shared by the tests of the pipelines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def inference_mode() -> Iterator[None]:
    """As in the engine."""
    with torch.inference_mode():
        yield
