"""The order of a tab: the buttons, how it stands, its pictures, and what they can become."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import gradio as gr
from gradio.components import Component

from ui import fields, messages, tiles
from ui.form import Form
from ui.page import Page, Parcel, Values
from ui.prediction import Prediction
from ui.refusal import Refusal
from ui.session import Session
from ui.stage import NOTHING, Stage, shown

# ``window.sdWatch`` is in keys.js.
_WATCH: Final = "window.sdWatch(element, props, trigger, watch);"
# What the tab for pictures takes over from one that is sent there.
_TAKEN_OVER: Final = (
    "prompt",
    "negative_prompt",
    "model",
    "loras",
    "num_inference_steps",
    "guidance_scale",
    "scheduler",
)

Pictures = tuple[bytes | None, bytes | None]
# From the values of further inputs to the picture and the mask that are sent. Raises ``Refusal``.
PicturesOf = Callable[..., Awaitable[Pictures]]


class Order:
    """Adds its elements where ``buttons`` and ``stage`` are called; ``connect`` comes last.

    Args:
        page: the page.
        tab: its id.
    """

    def __init__(self, page: Page, tab: str) -> None:
        self._page = page
        self._tab = tab
        # Of the latest order: after a reload, that one is shown again.
        self._running = gr.BrowserState("", storage_key=f"sd-{tab}-running", secret=Page.SECRET)

    def buttons(self, form: Form) -> None:
        """Add the buttons, and the place of what is wrong with no field."""
        with form.under_prompt:
            with gr.Row(elem_classes="sd-order"):
                self._make = gr.Button(
                    "Make",
                    variant="primary",
                    scale=3,
                    min_width=120,
                    elem_id=f"sd-{self._tab}-make",
                )
                self._cancel = gr.Button(
                    "Cancel",
                    variant="stop",
                    scale=1,
                    min_width=90,
                    interactive=False,
                    elem_id=f"sd-{self._tab}-cancel",
                )
            form.place("order")

    def stage(self) -> None:
        """Add how it stands, and its pictures."""
        self._stage = gr.HTML(
            shown(self._tab, "", NOTHING),
            js_on_load=tiles.TELL + _WATCH,
            apply_default_css=False,
            elem_id=f"sd-{self._tab}-stage",
        )
        self._message = messages.place(f"sd-{self._tab}-card-fault")

    def connect(
        self, form: Form, pictures: PicturesOf, inputs: list[Component] | None = None
    ) -> None:
        """Have the buttons do what they say.

        Args:
            form: has the fields.
            pictures: gets the values of ``inputs``.
            inputs: what the pictures are made of.
        """
        self._form = form
        self._pictures = pictures
        page, running = self._page, [self._running]
        elements = [self._stage, self._running, self._make, self._cancel, form.control("seed")]
        outputs = [*elements, *form.faults]
        # They show what is refused themselves, and need not wait for a turn.
        given = [*form.inputs, *(inputs or [])]
        page.on(self._make.click, self._order, given, outputs, queue=False)
        page.on(self._stage.submit, self._settle, running, outputs, told=True, queue=False)
        page.on(self._cancel.click, self._end, running, [], message=form.place("order"))
        page.on_load(self._again, running, [*outputs, *form.outputs])
        page.send(self._stage.click, parcel, [], told=True, message=self._message)

    async def _order(self, session: Session, *given: Any) -> Values:
        count = len(self._form.inputs)
        values = self._form.values(given[:count])
        if not values["lock"] or values["seed"] is None:
            values["seed"] = fields.random_seed()
        try:
            wanted = fields.requested(values)
            image, mask = await self._pictures(*given[count:])
            ordered = await session.order(wanted, image=image, mask=mask)
        except Refusal as refusal:
            # What was there before stays.
            unchanged = [gr.skip(), gr.skip(), *_buttons(is_running=False), gr.skip()]
            return [*unchanged, *self._form.fault(refusal, "order")]
        return [*self._elements(session, ordered), values["seed"], *self._form.no_fault()]

    async def _settle(self, session: Session, told: Mapping[str, Any], identifier: str) -> Values:
        """It is over, or it cannot be watched any more: look at it, and watch it once more."""
        try:
            found = await session.find(identifier)
        except Refusal as refusal:
            # How it stood is not how it stands; pictures that are there stay.
            left = gr.skip() if told.get("over") else shown(self._tab, "", NOTHING)
            idle = [left, gr.skip(), *_buttons(is_running=False), gr.skip()]
            return [*idle, *self._form.fault(refusal, "order")]
        stage = Stage(found)
        # What there was is hidden since the order.
        faults: Values = [gr.skip()] * len(self._form.faults)
        if (failure := stage.failure()) is not None:
            faults = self._form.fault(Refusal(failure), "order")
        elements = list(self._elements(session, found))
        if told.get("over"):
            # It shows the pictures already; other links to them would have them fetched again.
            elements[0] = gr.skip()
        return [*elements, gr.skip(), *faults]

    async def _again(self, session: Session, identifier: str) -> Values:
        """After a reload of the page: the latest order, and the form as it was."""
        faults = [gr.skip()] * len(self._form.faults)
        try:
            if not identifier:
                return [*([gr.skip()] * 5), *faults, *self._form.unchanged()]
            found = await session.find(identifier)
            # A seed that is there would be locked.
            filled = self._form.fill(await session.served(), {**found.fields, "seed": None})
        except Refusal as refusal:
            # It was deleted, or is of another key, in another tab.
            gone = refusal.status == 404
            idle = [gr.skip(), gr.skip(), *_buttons(is_running=False), gr.skip()]
            shown = faults if gone else self._form.fault(refusal, "order")
            return [*idle, *shown, *self._form.unchanged()]
        return [*self._elements(session, found), gr.skip(), *faults, *filled]

    async def _end(self, session: Session, identifier: str) -> Values:
        await session.cancel(identifier)
        return []

    def _elements(self, session: Session, prediction: Prediction) -> Values:
        """The stage, the id and the buttons; the stage watches what is not over."""
        stage, is_over = Stage(prediction), prediction.is_over
        ticket = "" if is_over else self._page.service.tickets.issue(session, prediction.id)
        html = shown(self._tab, stage.status(), stage.pictures(), ticket)
        return [html, prediction.id, *_buttons(is_running=not is_over)]


def _buttons(*, is_running: bool) -> Values:
    return [gr.update(interactive=not is_running), gr.update(interactive=is_running)]


async def parcel(session: Session, told: Mapping[str, Any]) -> Parcel:
    """What the button of a card is for; see ``ui.cards``."""
    prediction = await session.find(str(told.get("prediction")))
    index, action = int(told.get("index") or 0), told.get("action")
    if action in ("edit", "inpaint"):
        picture = await session.output(prediction.id, index)
        taken = {name: prediction.fields.get(name) for name in _TAKEN_OVER}
        return Parcel("edit", taken, picture)
    to = "text" if prediction.task == "txt2img" else "edit"
    return Parcel(to, prediction.once_more(index, vary=action == "vary"), make=True)
