"""The log of a run that was stopped and goes on."""

from __future__ import annotations

import json
from pathlib import Path

from training.dreambooth.journal import Journal


def test_what_came_after_the_checkpoint_is_written_again(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    journal = Journal(file, 0)
    for step in (1, 2, 3):
        journal.write(step, loss=step / 2)
    with file.open("a") as stream:
        stream.write('{"step": 4, "lo')
    Journal(file, 2).write(3, loss=9.0)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 1.0}, {"step": 3, "loss": 9.0}]
