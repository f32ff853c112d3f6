"""The folder of a run, and whether a run may go on in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from training.cluster import OWN_FOLDER
from training.dreambooth.errors import TrainingError

_RECORD, _LOG = "run.json", "log.jsonl"
_FOLDERS = ("checkpoints", "class", "sheets", "result")


class RunFolder:
    """Where a run keeps what it makes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / _LOG
        self.checkpoints, self.class_pictures, self.sheets, self.result = (
            path / name for name in _FOLDERS
        )

    def check(self, shape: dict[str, Any], checkpoint: Path | None = None) -> None:
        """Raise ``TrainingError`` if a run of another shape was made here, or left that
        checkpoint."""
        record = (checkpoint or self.path) / _RECORD
        if not record.exists():
            return
        former: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        for name in sorted(shape.keys() | former.keys()):
            if former.get(name) != shape.get(name):
                raise TrainingError(
                    f"{self.path} has a run of another kind ({name.replace('_', ' ')}: "
                    f"{former.get(name)}, not {shape.get(name)}). Give the same options to go on "
                    "with it, --restart to start over, or another --work."
                )

    def record(self, shape: dict[str, Any]) -> None:
        """Remember what kind of run this is."""
        self.path.mkdir(parents=True, exist_ok=True)
        partial = self.path / f"{_RECORD}.partial"
        partial.write_text(json.dumps(shape, indent=2) + "\n", encoding="utf-8")
        partial.replace(self.path / _RECORD)

    def copy_record(self, checkpoint: Path) -> None:
        """Let a checkpoint say what kind of run it is of."""
        shutil.copyfile(self.path / _RECORD, checkpoint / _RECORD)

    def clear(self) -> None:
        """Delete what a run has left, and nothing else."""
        for name in (*_FOLDERS, OWN_FOLDER):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in (_RECORD, _LOG):
            (self.path / name).unlink(missing_ok=True)
