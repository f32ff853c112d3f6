"""A mistake in the settings ends each host at once, with a sentence and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.effort import only_in_full

BENTOML = ("bentoml", "serve", "service:svc")
LOCAL = ("serving.local",)


# A setting, a mistake in it, and what is said.
MISTAKES = [
    (
        "SD_MODELS",
        "sd-1.5",
        "sd-1.5 is not downloaded in fp32; run: python -m models pull sd-1.5 --precision fp32",
    ),
    ("SD_TEXT_ENCODERS", "t5,bert", "SD_TEXT_ENCODERS=bert: Input should be 'clip_l', "),
    ("SD_MODEL_MEMORY", "5MB", "SD_MODEL_MEMORY is too small: embedded takes 22.5 MB, and"),
]
# Their sentences are those of the unit tests of the start.
MORE_MISTAKES = [
    ("SD_MODELS", "nope", "There is no model 'nope'; known models: embedded, "),
    ("SD_MAX_QUEUE", "0", "SD_MAX_QUEUE=0: Input should be greater than or equal to 1"),
    ("SD_MAX_QUEUE", "4", "max_images (8) must not exceed max_queue (4)"),
    ("SD_CATALOG", "missing.yaml", "missing.yaml: cannot be read: No such file or directory."),
    ("SD_WILDCARDS", "nowhere", "SD_WILDCARDS=nowhere: nowhere is no folder"),
    ("SD_CLASSIFIER", "docs", "SD_CLASSIFIER=docs: docs is not the folder of an image classif"),
    ("SD_DEVICE", "tpu", "SD_DEVICE=tpu: Input should be 'auto', 'cpu' or 'cuda'"),
]


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [*MISTAKES, *(pytest.param(*mistake, marks=only_in_full) for mistake in MORE_MISTAKES)],
)
def test_a_mistake_is_explained(tmp_path: Path, variable: str, value: str, sentence: str) -> None:
    assert_refused(tmp_path, BENTOML, variable, value, sentence)


def test_a_mistake_is_explained_without_bentoml(tmp_path: Path) -> None:
    sentence = "There is no model 'nope'; known models: embedded, "
    assert_refused(tmp_path, LOCAL, "SD_MODELS", "nope", sentence)


@pytest.mark.parametrize("host", [LOCAL, pytest.param(BENTOML, marks=only_in_full)])
def test_an_address_that_others_reach_needs_keys(tmp_path: Path, host: tuple[str, ...]) -> None:
    sentence = "0.0.0.0 can be reached from other machines, and there are no API keys: "
    assert_refused(tmp_path, host, "SD_ALLOW_ANONYMOUS", "false", sentence, "0.0.0.0")


def assert_refused(
    home: Path,
    host: tuple[str, ...],
    variable: str,
    value: str,
    sentence: str,
    address: str = "127.0.0.1",
) -> None:
    settings = {name: text for name, text in os.environ.items() if not name.startswith("SD_")}
    process = subprocess.run(
        [sys.executable, "-m", *host, "--host", address],
        cwd=ROOT,
        env={
            **settings,
            variable: value,
            "BENTOML_CONFIG": "configuration.yaml",
            "BENTOML_HOME": str(home),
            "BENTOML_DO_NOT_TRACK": "True",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 1
    assert process.stderr.startswith("cannot start: ")
    assert sentence in process.stderr
    assert "Traceback" not in process.stderr + process.stdout
