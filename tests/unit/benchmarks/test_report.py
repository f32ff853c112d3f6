"""The page, the bars and the plots, from figures."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report as reporting
from benchmarks.bars import bars
from benchmarks.contestant import CONTESTANTS
from benchmarks.load import Outcome, Record
from benchmarks.measures import figures
from benchmarks.report import add, page, write_report
from benchmarks.work import Work
from benchmarks.workloads import WORKLOADS


def a_round(latency: float, **changes: Any) -> dict[str, Any]:
    records = [
        Record(
            number=number,
            seed=number,
            kind=f"{steps} steps, 64 px",
            steps=steps,
            row_steps=steps,
            sent=20.0 + number,
            done=20.0 + number + latency,
            outcome=Outcome.PICTURE,
            status=200,
        )
        for number, steps in enumerate((10, 20, 50))
    ]
    work = Work(row_steps=80, passes=Counter({1: 20, 4: 15}))
    return {**figures(records, 100.0, work).to_json(), **changes}


def a_report() -> dict[str, Any]:
    contestants = {name: {workload: a_round(2.0) for workload in WORKLOADS} for name in CONTESTANTS}
    contestants["ours"]["mixed"] |= {"goodput": 3.0, "short_p50": 0.9, "useful_slot_steps": 0.97}
    contestants["ray_serve_batch"]["mixed"] |= {"goodput": 1.5, "short_p50": 2.0}
    contestants["bentoml_example"]["mixed"] |= {"goodput": 2.0, "short_p50": 1.0}
    contestants["ours"]["several"] |= {"goodput": 3.3, "short_p50": 1.5}
    contestants["ours_compiled"]["several"] |= {"goodput": 2.9, "short_p50": 0.9}
    contestants["ray_serve_models"]["several"] |= {"goodput": 2.0, "short_p50": 2.0}
    contestants["ours"]["overload"] |= {"goodput": 2.9, "refused": 8, "retry_after": 8}
    contestants["ours"]["impatient"] |= {"wasted_steps": 0.04}
    return {
        "machine": "a machine",
        "date": "2026-11-21",
        "command": "python -m benchmarks run",
        "contestants": contestants,
        "concurrency_1": {
            "pictures": 5,
            "loop_seconds": 0.5,
            "engine_seconds": 0.51,
            "http_seconds": 0.6,
            "engine": 1.02,
            "http": 1.2,
        },
        "choices": {name: {"threads": 1} for name in CONTESTANTS},
        "trials": [
            {"contestant": "ray_serve_batch", "set": {"threads": 2}, "goodput": 1.0, "errors": 0}
        ],
        "failures": {},
    }


def test_bars_compare_with_the_right_rivals() -> None:
    reached = {bar.name: (bar.value, bar.reached) for bar in bars(a_report())}
    compiled = "several, 16 clients, SD_COMPILE=openvino"
    assert reached == {
        "one client: engine / bare loop, latency": (1.02, True),
        "one client: HTTP / bare loop, latency": (1.2, False),
        "mixed, 16 clients: goodput / ray_serve_batch": (2.0, True),
        "mixed, 16 clients: goodput / bentoml_example": (1.5, False),
        "mixed, 16 clients: p50 of short requests / ray_serve_batch": (0.45, True),
        "mixed, 16 clients: p50 of short requests / bentoml_example": (0.9, False),
        "mixed: useful / total slot-steps": (0.97, True),
        "several, 16 clients: goodput / ray_serve_models": (1.65, True),
        "several, 16 clients: p50 of short requests / ray_serve_models": (0.75, False),
        f"{compiled}: goodput / ray_serve_models": (1.45, False),
        f"{compiled}: p50 of short requests / ray_serve_models": (0.45, True),
        "impatient: work for clients who had left": (0.04, False),
        "overload: 5xx answers": (0, True),
        "overload: timeouts": (0, True),
        "overload: share of the refused with Retry-After": (1.0, True),
        "overload: goodput / that of 16 clients": (0.9667, True),
    }


def test_a_refusal_without_retry_after_misses_its_bar() -> None:
    report = a_report()
    report["contestants"]["ours"]["overload"]["retry_after"] = 7
    missed = [bar.name for bar in bars(report) if bar.reached is False]
    assert "overload: share of the refused with Retry-After" in missed


def test_what_was_not_measured_is_neither_reached_nor_missed() -> None:
    report = a_report()
    report["contestants"] = {"ours": report["contestants"]["ours"]}
    del report["contestants"]["ours"]["overload"]
    del report["concurrency_1"]
    unknown = [bar.name for bar in bars(report) if bar.reached is None]
    assert len(unknown) == 14
    assert "not measured" in page(report)


def test_the_page_holds_every_round_and_what_is_written_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remarks = tmp_path / "remarks.md"
    remarks.write_text("The HTTP bar is missed because of {this}.\n")
    monkeypatch.setattr(reporting, "REMARKS", remarks)
    text = page(a_report())
    assert "The HTTP bar is missed because of {this}." in text
    assert "| one client: HTTP / bare loop, latency | ≤ 1.1 | 1.200 | **missed** |" in text
    for workload in WORKLOADS.values():
        assert f"{workload.title}." in text
    rows = [line for line in text.splitlines() if line.startswith("| ray_serve_batch | ")]
    assert len(rows) == len(WORKLOADS) + 2  # and its settings, and a trial


def test_a_later_run_is_added_and_told_apart() -> None:
    report, part = a_report(), a_report()
    for rounds in report["contestants"].values():
        del rounds["several"]
    part["contestants"] = {
        name: {"several": rounds["several"]} for name, rounds in part["contestants"].items()
    }
    part |= {
        "machine": "another machine",
        "command": "python -m benchmarks run --workloads several",
    }
    both = add(report, part)
    assert both["contestants"] == a_report()["contestants"]
    text = page(both)
    assert "- Machine: a machine\n" in text
    assert (
        "- Measured later: several. another machine; 2026-11-21; "
        "`python -m benchmarks run --workloads several`\n\n## Bars"
    ) in text
    assert "Measured later" not in page(report)
    assert "several" not in report["contestants"]["ours"], "the report itself is as it was"


def test_what_a_later_run_has_measured_anew_is_not_told_any_more() -> None:
    part = a_report()
    part["contestants"] = {
        name: {"several": rounds["several"]} for name, rounds in part["contestants"].items()
    }
    first, second = ({**part, "machine": machine} for machine in ("a first one", "a second one"))
    told = add(add(a_report(), first), second)["additions"]
    assert [each["machine"] for each in told] == ["a second one"]
    second["contestants"] = {"ours": part["contestants"]["ours"]}
    told = add(add(a_report(), first), second)["additions"]
    assert [each["machine"] for each in told] == ["a first one", "a second one"]


def test_errors_are_listed_with_their_reasons() -> None:
    report = a_report()
    report["contestants"]["bentoml_adaptive"]["overload"] |= {
        "errors": 3,
        "error_reasons": {"503: a | b\n": 3},
    }
    assert "- bentoml_adaptive: 3 × `503: a / b `" in page(report)


def test_the_report_is_written_again_from_its_own_json(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_report(a_report(), tmp_path)
    names = ("throughput", "latency", "classes", "batches", "slot-steps")
    paths = [tmp_path / "benchmark.md", tmp_path / "benchmark.json"]
    paths += [tmp_path / "images" / f"benchmark-{name}.svg" for name in names]
    before = [path.read_bytes() for path in paths]
    assert all(f"images/benchmark-{name}.svg" in before[0].decode() for name in names)
    write_report(json.loads(before[1]), tmp_path)
    assert [path.read_bytes() for path in paths] == before


def test_a_report_of_one_contestant_can_be_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report = a_report()
    report["contestants"] = {"ours": {"uniform": report["contestants"]["ours"]["uniform"]}}
    write_report(report, tmp_path)
    assert (tmp_path / "images" / "benchmark-latency.svg").exists()
