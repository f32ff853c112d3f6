"""The plots of the figures, as SVG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.contestant import CONTESTANTS

# Okabe & Ito's palette, which colour-blind readers can tell apart.
PALETTE = (
    "#0072B2",
    "#000000",
    "#56B4E9",
    "#E69F00",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#7F7F7F",
)
COLOURS = dict(zip(CONTESTANTS, PALETTE, strict=True))
PERCENTILES = ("p50", "p95", "p99")

Results = dict[str, dict[str, dict[str, Any]]]


def draw(report: dict[str, Any], folder: Path) -> list[Path]:
    """Write every plot; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    results: Results = report["contestants"]
    plots: dict[str, Callable[[Axes, Results], None]] = {
        "throughput": _throughput,
        "latency": _latency,
        "classes": _classes,
        "batches": _batches,
        "slot-steps": _slot_steps,
    }
    files = []
    for name, plot in plots.items():
        figure, axes = pyplot.subplots(figsize=(9, 4), layout="constrained")
        plot(axes, results)
        axes.spines[["top", "right"]].set_visible(False)
        path = folder / f"benchmark-{name}.svg"
        save(figure, path)
        files.append(path)
    return files


def save(figure: Figure, path: Path) -> None:
    """Write a drawing as SVG. The same drawing gives the same file."""
    with mpl.rc_context({"svg.hashsalt": "benchmark"}):
        figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _throughput(axes: Axes, results: Results) -> None:
    _bars(
        axes,
        _workloads(results),
        {
            name: {workload: figures["goodput"] for workload, figures in rounds.items()}
            for name, rounds in results.items()
        },
    )
    axes.set_ylabel("pictures per second")
    axes.set_title("Goodput by workload")


def _latency(axes: Axes, results: Results) -> None:
    _bars(
        axes,
        list(PERCENTILES),
        {name: rounds["mixed"] for name, rounds in results.items() if "mixed" in rounds},
    )
    axes.set_ylabel("seconds")
    axes.set_title("Latency, mixed workload, 16 clients (the loop: one)")


def _classes(axes: Axes, results: Results) -> None:
    by_class = {
        name: rounds["mixed"]["latency_by_class"]
        for name, rounds in results.items()
        if "mixed" in rounds
    }
    kinds = list(dict.fromkeys(kind for medians in by_class.values() for kind in medians))
    _bars(axes, sorted(kinds, key=lambda kind: int(kind.split()[0])), by_class)
    axes.set_ylabel("seconds, median")
    axes.set_title("Time of a request by its class, mixed workload")


def _batches(axes: Axes, results: Results) -> None:
    sizes = {
        name: {int(size): count for size, count in rounds["mixed"]["batch_sizes"].items()}
        for name, rounds in results.items()
        if "mixed" in rounds
    }
    bounds = sorted({size for counts in sizes.values() for size in counts})
    shares = {
        name: {str(size): count / sum(counts.values()) for size, count in counts.items()}
        for name, counts in sizes.items()
    }
    _bars(axes, [str(size) for size in bounds], shares)
    axes.set_xlabel("requests that share a denoiser pass (up to)")
    axes.set_ylabel("share of the passes")
    axes.set_title("Batch sizes, mixed workload")


def _slot_steps(axes: Axes, results: Results) -> None:
    _bars(
        axes,
        _workloads(results),
        {
            name: {workload: figures["useful_slot_steps"] for workload, figures in rounds.items()}
            for name, rounds in results.items()
        },
    )
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("useful / total slot-steps")
    axes.set_title("Share of the denoiser's work that became pictures")


def _bars(axes: Axes, groups: list[str], series: dict[str, dict[str, float | None]]) -> None:
    width = 0.8 / max(1, len(series))
    for place, (name, values) in enumerate(series.items()):
        shift = (place - (len(series) - 1) / 2) * width
        heights = [values.get(group) or 0.0 for group in groups]
        positions = [index + shift for index in range(len(groups))]
        axes.bar(positions, heights, width, label=name, color=COLOURS[name])
    axes.set_xticks(range(len(groups)), groups)
    if series:
        axes.figure.legend(
            loc="outside lower center", ncols=len(series), frameon=False, fontsize="small"
        )
    else:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center")


def _workloads(results: Results) -> list[str]:
    return list(dict.fromkeys(workload for rounds in results.values() for workload in rounds))
