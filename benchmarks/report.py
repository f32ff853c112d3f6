"""The page: from ``benchmark.json`` to ``benchmark.md`` and its plots, without measuring again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.bars import bars
from benchmarks.contestant import CONTESTANTS
from benchmarks.workloads import WORKLOADS

REMARKS = Path(__file__).with_name("remarks.md")
METHOD = Path(__file__).with_name("method.md")

_PLOTS = {
    "throughput": "Goodput by workload",
    "latency": "Latency percentiles of the mixed workload",
    "classes": "Latency by class of request",
    "batches": "Batch sizes",
    "slot-steps": "Useful share of the denoiser's work",
}

_PAGE = """\
# The benchmark

The same models, on the same machine, served in several ways, all in one run but for what was
measured later. Written by `python -m benchmarks report` from [benchmark.json](benchmark.json).

- Machine: {machine}
- Date: {date}
- Command: `{command}`
{additions}
## Bars

{bars}

## Remarks

{remarks}

## One client at a time

{solo}

{workloads}

## Plots

{plots}

## How each contestant was set

{choices}

{method}
"""


def add(report: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """A report with the rounds of a later run in it, which the page tells apart."""
    contestants = {name: dict(rounds) for name, rounds in report["contestants"].items()}
    for name, rounds in part["contestants"].items():
        contestants[name] = {**contestants.get(name, {}), **rounds}
    workloads = {each for rounds in part["contestants"].values() for each in rounds}
    addition = {
        "workloads": [name for name in WORKLOADS if name in workloads],
        **{key: part[key] for key in ("machine", "date", "command")},
    }
    return {
        **report,
        "contestants": contestants,
        "choices": {**report["choices"], **part["choices"]},
        "additions": [*_additions(report, part), addition],
    }


def _additions(report: dict[str, Any], part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What was measured later, without workloads of which a still later part has all rounds."""
    for addition in report.get("additions", []):
        left = [
            workload
            for workload in addition["workloads"]
            if any(
                workload in rounds and workload not in part["contestants"].get(name, {})
                for name, rounds in report["contestants"].items()
            )
        ]
        if left:
            yield {**addition, "workloads": left}


def write_report(report: dict[str, Any], folder: Path) -> None:
    """Write the JSON file, the page and its plots."""
    # Matplotlib is only there where the benchmark is.
    from benchmarks.plots import draw

    folder.mkdir(parents=True, exist_ok=True)
    report = {**report, "bars": [bar.to_json() for bar in bars(report)]}
    data = json.dumps(report, indent=2, ensure_ascii=False)
    (folder / "benchmark.json").write_text(data + "\n", encoding="utf-8")
    draw(report, folder / "images")
    (folder / "benchmark.md").write_text(page(report), encoding="utf-8")


def page(report: dict[str, Any]) -> str:
    """The page as Markdown; what is written by hand comes from ``method.md`` and
    ``remarks.md``."""
    return _PAGE.format(
        machine=report["machine"],
        date=report["date"],
        command=report["command"],
        additions="".join(
            f"- Measured later: {', '.join(each['workloads'])}. {each['machine']}; {each['date']}; "
            f"`{each['command']}`\n"
            for each in report.get("additions", [])
        ),
        bars=_bars(report),
        remarks=REMARKS.read_text(encoding="utf-8").strip(),
        solo=_solo(report),
        workloads="\n\n".join(_workload(report, name) for name in _measured(report)),
        plots="\n\n".join(
            f"![{title}](images/benchmark-{name}.svg)" for name, title in _PLOTS.items()
        ),
        choices=_choices(report),
        method=METHOD.read_text(encoding="utf-8").strip(),
    )


def _bars(report: dict[str, Any]) -> str:
    verdicts = {True: "reached", False: "**missed**", None: "not measured"}
    return _table(
        ("", "aim", "measured", ""),
        ((bar.name, bar.aim, _number(bar.value, 3), verdicts[bar.reached]) for bar in bars(report)),
    )


def _solo(report: dict[str, Any]) -> str:
    solo = report.get("concurrency_1")
    if not solo:
        return "Not measured in this run."
    return (
        f"{solo['pictures']} pictures of the uniform workload, each made the three ways in turn; "
        "medians.\n\n"
    ) + _table(
        ("", "seconds", "ratio to the loop"),
        (
            ("bare diffusers in a loop", _number(solo["loop_seconds"], 3), "1"),
            ("the engine", _number(solo["engine_seconds"], 3), _number(solo["engine"], 3)),
            ("the service over HTTP", _number(solo["http_seconds"], 3), _number(solo["http"], 3)),
        ),
    )


def _measured(report: dict[str, Any]) -> list[str]:
    results = report["contestants"].values()
    return [name for name in WORKLOADS if any(name in rounds for rounds in results)]


def _workload(report: dict[str, Any], name: str) -> str:
    heads = (
        "",
        "goodput",
        "p50",
        "p95",
        "p99",
        "p99/min",
        "short p50",
        "useful",
        "wasted",
        "abandoned",
        "errors",
        "refused",
        "left",
        "sent",
    )
    rows = []
    for contestant, rounds in report["contestants"].items():
        if name not in rounds:
            continue
        figures = rounds[name]
        spread = figures["p99"] / figures["min"] if figures["min"] else None
        rows.append(
            (
                contestant,
                _number(figures["goodput"], 2),
                *(_number(figures[key], 2) for key in ("p50", "p95", "p99")),
                _number(spread, 1),
                _number(figures["short_p50"], 2),
                *(
                    _percent(figures[key])
                    for key in ("useful_slot_steps", "wasted_steps", "abandoned_steps")
                ),
                *(str(figures[key]) for key in ("errors", "refused", "left", "sent")),
            )
        )
    reasons = [
        f"- {contestant}: {', '.join(f'{count} × {_code(why)}' for why, count in known.items())}"
        for contestant, rounds in report["contestants"].items()
        if (known := rounds.get(name, {}).get("error_reasons"))
    ]
    text = f"## {name.replace('_', ' ').capitalize()}\n\n{WORKLOADS[name].title}.\n\n"
    text += _table(heads, rows)
    return text + ("\n\nErrors:\n\n" + "\n".join(reasons) if reasons else "")


def _choices(report: dict[str, Any]) -> str:
    rows = []
    for name, choice in report["choices"].items():
        known = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in choice.items())
        rows.append((name, CONTESTANTS[name].title, known or "its defaults"))
    text = _table(("contestant", "", "settings"), rows)
    if not report.get("trials"):
        return text
    text += "\n\nWhat they were chosen from (mixed workload, pictures per second):\n\n"
    return text + _table(
        ("contestant", "settings", "goodput", "errors"),
        (
            (
                trial["contestant"],
                ", ".join(f"{key.replace('_', ' ')} {each}" for key, each in trial["set"].items()),
                _number(trial["goodput"], 2),
                str(trial["errors"]),
            )
            for trial in report["trials"]
        ),
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _code(text: str) -> str:
    return "`" + text.replace("`", "'").replace("\n", " ").replace("|", "/") + "`"
