"""Compare: one picture of many, over the values of two parameters."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import gradio as gr

from ui import axes, fields, messages, stage
from ui.axes import AxisError, Parameter
from ui.axis import Axis
from ui.cells import Cells
from ui.form import Form
from ui.page import Page, Values
from ui.refusal import Refusal
from ui.session import Session
from ui.sheet import Edge, Place, compose

_LOOK_SECONDS: Final = 0.5
_NOTHING: Final = '<p class="sd-empty">The grid appears here.</p>'
# Looks between two sheets that are not whole: each is a file that the browser fetches.
_SHEET_LOOKS: Final = 6
_INTRODUCTION: Final = f"""\
A grid of pictures over the values of one or two parameters, all else the same, the seed too. An
axis has up to {axes.MAX_VALUES} values, the grid up to {axes.MAX_CELLS} pictures. It is given up
when this page is closed; what was made of it is in *History*.
"""
# One of each cell, whole, and a sheet is a PNG: tabs.css hides these controls.
_SETTLED: Final = {"num_images": 1, "previews": False, "output_format": None}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a grid is of.

    Attributes:
        wanted: the fields of the API of each cell, by column and row.
        across: the edge along the columns.
        down: that along the rows; None where there is one row.
    """

    wanted: Mapping[Place, Mapping[str, Any]]
    across: Edge
    down: Edge | None


def build(page: Page, tab: gr.Tab) -> None:
    """Fill the tab."""
    gr.Markdown(_INTRODUCTION)
    with gr.Row(equal_height=False, elem_id="sd-grid-row"):
        with gr.Column(scale=2, min_width=300, elem_classes="sd-form"):
            grid = Grid(page)
        with gr.Column(scale=3, min_width=300, elem_classes="sd-result"):
            grid.result()


class Grid:
    """The tab: its controls are added where it is made, and the sheet by ``result``.

    Args:
        page: the page.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        # Of grids that are being made, what tells them that the visitor has enough.
        self._ends: dict[str, asyncio.Event] = {}
        self._axes = (
            Axis(page, "x", "Columns", axes.parameter("Steps"), "4, 8, 16"),
            Axis(page, "y", "Rows", None),
        )
        with gr.Row(elem_classes="sd-order"):
            self._make = gr.Button(
                "Make the grid", variant="primary", scale=3, min_width=120, elem_id="sd-grid-make"
            )
            self._cancel = gr.Button(
                "Cancel",
                variant="stop",
                scale=1,
                min_width=90,
                interactive=False,
                elem_id="sd-grid-cancel",
            )
        self._status = gr.HTML(elem_id="sd-grid-status", elem_classes="sd-status")
        with gr.Accordion("What all pictures have", open=True, elem_id="sd-grid-form"):
            self._form = Form(page, "grid", "txt2img")
            self._form.place("order")
        page.receive(
            "grid", lambda told, sent: self._form.fill(told, sent.fields), self._form.outputs
        )

    def result(self) -> None:
        """Add the sheet, and have the buttons do what they say."""
        self._nothing = gr.HTML(_NOTHING)
        self._sheet = gr.Image(
            visible=False,
            label="The grid",
            show_label=False,
            format="png",
            interactive=False,
            buttons=["download", "fullscreen"],
            elem_id="sd-grid-sheet",
        )
        running = gr.State("")
        inputs = [*(one for axis in self._axes for one in axis.inputs), *self._form.inputs]
        shown = [self._status, running, self._make, self._cancel, self._nothing, self._sheet]
        faults = [*(axis.fault for axis in self._axes), *self._form.faults]
        outputs = [*shown, self._form.control("seed"), *faults]
        self._page.on(self._make.click, self._order, inputs, outputs)
        self._page.on(self._cancel.click, self._end, [running])

    async def _order(self, session: Session, *given: Any) -> AsyncIterator[Values]:
        ended, run = asyncio.Event(), secrets.token_hex(8)
        count = len(given) - len(self._form.inputs)
        values = self._form.values(given[count:]) | _SETTLED
        if values["seed"] is None or not values["lock"]:
            values["seed"] = fields.random_seed()
        try:
            plan = self._plan(values, given[:count])
            cells = Cells(session, plan.wanted)
            self._ends[run] = ended
            sheet = await _sheet(plan, cells)
            yield [*_running(cells, run), *sheet, values["seed"], *self._no_fault()]
            looks = 0
            async with aclosing(cells.make(ended, _LOOK_SECONDS)) as making:
                async for is_new in making:
                    looks += 1
                    is_due = is_new and looks % _SHEET_LOOKS == 0
                    sheet = await _sheet(plan, cells) if is_due else [gr.skip(), gr.skip()]
                    yield [*_running(cells, run), *sheet, gr.skip(), *self._unchanged()]
        except Refusal as refusal:
            idle = [*_idle(""), gr.skip(), gr.skip(), gr.skip()]
            yield [*idle, *self._fault(refusal, given[:count])]
            return
        finally:
            self._ends.pop(run, None)
        sheet = await _sheet(plan, cells)
        said = f"{len(cells.pictures)} of {len(plan.wanted)} pictures"
        said += ", as it was cancelled." if ended.is_set() else "."
        yield [*_idle(stage.line(said)), *sheet, gr.skip(), *self._unchanged()]

    async def _end(self, session: Session, run: str) -> Values:
        if (ended := self._ends.get(run)) is not None:
            ended.set()
        return []

    def _plan(self, values: Mapping[str, Any], given: Sequence[Any]) -> Plan:
        """What is to be made. Raises ``Refusal``."""
        cells: dict[Place, dict[str, Any]] = {(0, 0): fields.requested(values)}
        edges: list[Edge | None] = []
        for index, axis in enumerate(self._axes):
            one, found = axis.read(*given[3 * index : 3 * index + 3])
            edges.append(None)
            if one is None:
                continue
            try:
                cells = _spread(cells, index, one, found)
            except AxisError as error:
                raise Refusal(str(error), field=axis.name) from None
            edges[index] = Edge(one.title, [axes.label(value) for value in found])
        across, down = edges
        if across is None and down is None:
            raise Refusal("Choose what is to differ.", field="x")
        same = across is not None and down is not None and across.title == down.title
        if same and down is not None and down.title != axes.WORDS:
            raise Refusal(f"{down.title} differs from column to column already.", field="y")
        if len(cells) > axes.MAX_CELLS:
            raise Refusal(
                f"These are {len(cells)} pictures; {axes.MAX_CELLS} are the most.", field="x"
            )
        return Plan(cells, across or Edge("", [""]), down)

    def _fault(self, refusal: Refusal, given: Sequence[Any]) -> Values:
        """The updates of all faults: at the axis, where it is about what differs along it."""
        places: list[Any] = [messages.nothing() for _ in self._axes]
        for index, axis in enumerate(self._axes):
            one = axes.parameter(given[3 * index])
            of_axis = one is not None and refusal.field in (one.field, one.field.partition(".")[0])
            if of_axis or refusal.field == axis.name:
                places[index] = messages.wrong(refusal)
                return [*places, *self._form.no_fault()]
        return [*places, *self._form.fault(refusal, "order")]

    def _no_fault(self) -> Values:
        return [*(messages.nothing() for _ in self._axes), *self._form.no_fault()]

    def _unchanged(self) -> Values:
        return [gr.skip()] * len(self._no_fault())


def _spread(
    cells: Mapping[Place, Mapping[str, Any]], index: int, one: Parameter, values: Sequence[Any]
) -> dict[Place, dict[str, Any]]:
    """The cells along one more axis, the columns (0) or the rows (1). Raises ``AxisError``."""
    return {
        (number, row) if index == 0 else (column, number): axes.with_value(
            cell, one, value, values[0]
        )
        for (column, row), cell in cells.items()
        for number, value in enumerate(values)
    }


async def _sheet(plan: Plan, cells: Cells) -> Values:
    """The sheet, with what is finished, and nothing in its place."""
    given = dict(cells.pictures), dict(cells.notes)
    sheet = await asyncio.to_thread(compose, plan.across, plan.down, *given)
    return [gr.update(visible=False), gr.update(value=sheet, visible=True)]


def _running(cells: Cells, run: str) -> Values:
    """The status, the run and the buttons, while it is made."""
    made = f"{len(cells.pictures)} of {cells.count} pictures"
    status = stage.line(made, is_said=False) + stage.bar(cells.share)
    return [status, run, gr.update(interactive=False), gr.update(interactive=True)]


def _idle(status: str) -> Values:
    return [status, "", gr.update(interactive=True), gr.update(interactive=False)]
