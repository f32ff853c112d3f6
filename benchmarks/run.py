"""A run of the benchmark: every contestant in turn, then one client at a time, then the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.contestant import CONTESTANTS, Choice
from benchmarks.report import write_report
from benchmarks.rounds import Effort, RoundFailed, driver, measure
from benchmarks.server import StartFailed
from benchmarks.solo import compare
from benchmarks.tuning import load, settings
from benchmarks.workloads import WORKLOADS
from training.machine import describe

SEED = 1


def run(
    agenda: Mapping[str, Sequence[str]],
    effort: Effort,
    *,
    solo: int,
    device: str,
    command: str,
    out: Path,
) -> bool:
    """Measure, and write the report after each contestant.

    Args:
        agenda: the contestants, and the workloads of each.
        solo: pictures for the comparison of one client at a time; 0 for none.
        command: as it is shown in the report.

    Returns:
        Whether all of it could be measured.
    """
    tuned = load()
    choices = {name: Choice(**tuned["choices"].get(name, {})) for name in CONTESTANTS}
    report: dict[str, Any] = {
        "machine": describe(),
        "date": date.today().isoformat(),
        "command": command,
        "contestants": {},
        "choices": {name: settings(CONTESTANTS[name], choices[name]) for name in agenda},
        "trials": [each for each in tuned["trials"] if each["contestant"] in agenda],
        "failures": {},
    }
    if solo and "ours" in agenda:
        try:
            report["concurrency_1"] = asdict(compare(solo, device, choices["diffusers_loop"]))
            print(f"one client at a time: {report['concurrency_1']}", flush=True)
        except (StartFailed, RoundFailed, RuntimeError) as error:
            _fail(report, "concurrency_1", error)
    for name, workloads in agenda.items():
        contestant = CONTESTANTS[name]
        try:
            for models, some in _by_models(workloads):
                with driver(contestant, choices[name], device, models) as driven:
                    for workload, figures in measure(contestant, driven, some, effort, SEED):
                        report["contestants"].setdefault(name, {})[workload] = figures.to_json()
        except (StartFailed, RoundFailed) as error:
            _fail(report, name, error)
        write_report(report, out)
    return not report["failures"]


def _by_models(workloads: Sequence[str]) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """The workloads that a server is started for together, as they want the same models."""
    for models in dict.fromkeys(WORKLOADS[name].models for name in workloads):
        yield models, [name for name in workloads if WORKLOADS[name].models == models]


def _fail(report: dict[str, Any], name: str, error: Exception) -> None:
    print(f"{name}: {error}", flush=True)
    report["failures"][name] = str(error).splitlines()[0]
