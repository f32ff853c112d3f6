"""The drawing of a simulation: replicas and nodes against the load, and what clients waited."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from matplotlib import pyplot
from matplotlib.axes import Axes

from benchmarks.plots import PALETTE, save

GREY = "#D9D9D9"


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw the loads of a ``simulation.json`` over one axis of time."""
    figure, (fleet, load, latency) = pyplot.subplots(
        3, 1, figsize=(9, 8), sharex=True, layout="constrained", height_ratios=(3, 2, 2)
    )
    runs = report["runs"]
    hours = runs[0]["timeline"]["time"][-1] > 2 * 3600
    colours = [PALETTE[index % len(PALETTE)] for index in range(len(runs))]
    for run, colour in zip(runs, colours, strict=True):
        lines = run["timeline"]
        time = [second / 3600 if hours else second for second in lines["time"]]
        _line(fleet, time, lines["replicas"], colour, run["name"], step=True)
        _line(fleet, time, lines["nodes"], colour, None, step=True, dashed=True)
        _line(load, time, lines["pictures"], colour, None)
        _line(load, time, lines["failed"], colour, None, dashed=True)
        _line(latency, time, lines["p95"], colour, None)
        _line(latency, time, lines["p50"], colour, None, dashed=True)
    time = [second / 3600 if hours else second for second in runs[0]["timeline"]["time"]]
    offered = runs[0]["timeline"]["offered"]
    behind = fleet.twinx()
    behind.set_zorder(fleet.get_zorder() - 1)
    fleet.patch.set_visible(False)
    behind.set_ylabel("requests per second")
    for axes in (behind, load):
        axes.fill_between(time, offered, color=GREY, linewidth=0)
        axes.set_ylim(bottom=0)
    fleet.set_ylim(bottom=0)
    fleet.set_ylabel("replicas, nodes")
    fleet.set_title("Replicas (nodes dashed), over the load", fontsize="medium")
    if all(value is None for run in runs for value in run["timeline"]["replicas"]):
        fleet.text(0.5, 0.9, "replicas: unknown", transform=fleet.transAxes, ha="center")
    load.set_ylabel("per second")
    load.set_title("Pictures (refused and failed dashed)", fontsize="medium")
    latency.set_ylim(bottom=0)
    latency.set_ylabel("seconds")
    latency.set_xlabel("hours" if hours else "seconds")
    latency.set_title("Latency, p95 (p50 dashed)", fontsize="medium")
    for axes in (fleet, load, latency):
        axes.spines["top"].set_visible(False)
    figure.legend(
        loc="outside lower center", ncols=min(3, len(runs)), frameon=False, fontsize="small"
    )
    save(figure, path)


def _line(
    axes: Axes,
    time: list[float],
    values: list[float | None],
    colour: str,
    label: str | None,
    *,
    step: bool = False,
    dashed: bool = False,
) -> None:
    axes.plot(
        time,
        [math.nan if value is None else value for value in values],
        color=colour,
        label=label,
        drawstyle="steps-mid" if step else "default",
        linestyle="--" if dashed else "-",
        linewidth=1 if dashed else 1.6,
    )
