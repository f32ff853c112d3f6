"""The controls of an axis: the parameter, and its values, typed or chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import gradio as gr
from gradio.components import Component

from ui import axes, messages
from ui.axes import AxisError, Parameter
from ui.page import Page, Values
from ui.refusal import Refusal
from ui.session import Session

NOTHING: Final = "Nothing"
# Of values to choose from, so many are chosen at first.
_TAKEN: Final = 3
# The parameter, None where nothing differs, and its values.
Reading = tuple[Parameter | None, list[Any]]


class Axis:
    """Adds its controls where it is made.

    Args:
        page: the page.
        name: ``x`` or ``y``.
        label: of the parameter.
        start: the parameter at the beginning, one with typed values; None for none.
        typed: its values.

    Attributes:
        name: likewise.
        fault: the place of what is wrong with it.
    """

    def __init__(
        self, page: Page, name: str, label: str, start: Parameter | None, typed: str = ""
    ) -> None:
        self.name = name
        with gr.Row():
            self._parameter = gr.Dropdown(
                [NOTHING, *(one.title for one in axes.PARAMETERS)],
                value=NOTHING if start is None else start.title,
                label=label,
                min_width=140,
                elem_id=f"sd-grid-{name}",
            )
            self._typed = gr.Textbox(
                typed,
                label=f"{label}: values",
                info=None if start is None else start.hint,
                max_lines=1,
                max_length=2000,
                min_width=140,
                visible=start is not None,
                elem_id=f"sd-grid-{name}-typed",
            )
            self._chosen = gr.Dropdown(
                [],
                label=f"{label}: values",
                multiselect=True,
                max_choices=axes.MAX_VALUES,
                min_width=140,
                visible=False,
                elem_id=f"sd-grid-{name}-chosen",
            )
        self.fault = messages.place(f"sd-grid-{name}-fault")
        page.on(self._parameter.input, _changed, [self._parameter], [self._typed, self._chosen])

    @property
    def inputs(self) -> list[Component]:
        """For ``read``."""
        return [self._parameter, self._typed, self._chosen]

    def read(self, name: str, typed: str | None, chosen: Sequence[str] | None) -> Reading:
        """What is on the axis. Raises ``Refusal``, with the axis' name as the field."""
        one = axes.parameter(name)
        try:
            return one, [] if one is None else axes.values(one, typed or "", chosen or [])
        except AxisError as error:
            raise Refusal(str(error), field=self.name) from None


async def _changed(session: Session, name: str) -> Values:
    one = axes.parameter(name)
    if one is None:
        return [gr.update(visible=False), gr.update(visible=False)]
    if one.kind == "choice":
        offered = list(axes.choices(one, await session.served()))
        taken = offered[:_TAKEN]
        return [gr.update(visible=False), gr.update(visible=True, choices=offered, value=taken)]
    return [gr.update(visible=True, value="", info=one.hint), gr.update(visible=False, value=[])]
