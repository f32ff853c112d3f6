"""The drawing of a trace: which job's rows were in which denoiser pass, in a run of the engine.

python -m benchmarks.trace --out docs/images/engine-trace.svg
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.markers import CARETRIGHT
from matplotlib.patches import Rectangle

from benchmarks.trace_story import ROWS, Life, lives, run, story

TEXT, FAINT, GRID = "#24292f", "#6e7781", "#d8dee4"


def draw(lanes: Sequence[Life], file: Path) -> None:
    """Write the drawing: a lane for each job above, the rows of each pass below."""
    mpl.rcParams["svg.hashsalt"] = "engine-trace"
    mpl.rcParams["font.size"] = 10
    made = 1 + max(number for life in lanes for number in life.passes)
    steps = sum(len(life.passes) for life in lanes)
    figure, (above, below) = pyplot.subplots(
        2,
        figsize=(11.5, 6.4),
        sharex=True,
        height_ratios=(len(lanes), 3.6),
        layout="constrained",
        facecolor="white",
    )
    for number, life in enumerate(lanes):
        _lane(above, number, life, to_the_left=max(life.passes) > 0.9 * made)
    _strip(below, lanes)
    above.set_ylim(len(lanes) - 0.45, -0.6)
    above.set_yticks([])
    above.tick_params(axis="x", length=0)
    below.set_xlim(-0.2, made + 2)
    below.set_xlabel("denoiser passes, in order", color=TEXT)
    for axes in (above, below):
        axes.set_axisbelow(True)
        axes.grid(axis="x", color=GRID, linewidth=0.6)
        axes.spines[:].set_visible(False)
        axes.tick_params(colors=FAINT, labelcolor=FAINT)
    figure.suptitle(
        f"{steps} denoising steps of {len(lanes)} jobs in {made} passes",
        x=0.01,
        ha="left",
        color=TEXT,
        weight="bold",
        size="x-large",
    )
    above.set_title(
        "\N{BLACK SQUARE} a row in a pass     \N{BLACK RIGHT-POINTING SMALL TRIANGLE} arrives"
        "     \N{CHECK MARK} picture done     \N{MULTIPLICATION X} cancelled",
        loc="right",
        color=FAINT,
        size="medium",
        pad=12,
    )
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def _lane(axes: Axes, lane: int, life: Life, *, to_the_left: bool) -> None:
    arrived, left = life.scene.arrives, max(life.passes) + 1
    axes.plot((arrived, left), (lane, lane), color=life.colour, alpha=0.35, linewidth=1, zorder=1)
    axes.plot(arrived, lane, marker=CARETRIGHT, color=TEXT, markersize=4, zorder=3)
    for number, rows in life.passes.items():
        for row in range(rows):
            # Two rows above and below the line, one row upon it.
            _cell(axes, number, lane + 0.36 * (row - rows / 2), 0.32, life.colour)
    axes.text(-16.6, lane, life.name, color=life.colour, weight="bold", va="center")
    axes.text(-14.2, lane, life.scene.says, color=TEXT, va="center")
    end = "\N{CHECK MARK}" if life.scene.leaves is None else "\N{MULTIPLICATION X}"
    axes.text(left + 0.3, lane, end, color=TEXT, va="center")
    axes.text(
        arrived - 1 if to_the_left else left + 1.8,
        lane,
        life.scene.remark,
        color=FAINT,
        va="center",
        ha="right" if to_the_left else "left",
        style="italic",
        backgroundcolor="white",
    )


def _strip(axes: Axes, lanes: Sequence[Life]) -> None:
    entries = [(number, life, rows) for life in lanes for number, rows in life.passes.items()]
    for number, batch in groupby(sorted(entries, key=lambda e: e[0]), key=lambda e: e[0]):
        height = 0
        for _, life, rows in batch:
            for _ in range(rows):
                _cell(axes, number, height + 0.08, 0.84, life.colour)
                height += 1
    axes.set_ylim(0, ROWS + 1.2)
    axes.set_yticks(range(0, ROWS + 1, 2))
    axes.axhline(ROWS, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.text(0.2, ROWS + 0.25, f"a pass holds {ROWS} rows here", color=FAINT, style="italic")
    axes.set_ylabel("rows in the pass", color=TEXT)


def _cell(axes: Axes, number: int, bottom: float, height: float, colour: str) -> None:
    axes.add_patch(Rectangle((number + 0.08, bottom), 0.84, height, color=colour, linewidth=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images/engine-trace.svg"))
    file = parser.parse_args().out
    scenes = story()
    draw(lives(scenes, run(scenes)), file)
    print(file)


if __name__ == "__main__":
    main()
