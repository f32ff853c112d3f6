"""The order of a tab: the buttons, how it stands, its pictures, and what they can become."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

import gradio as gr
from gradio.components import Component

from ui import cards, fields, messages
from ui.form import Form
from ui.page import Page, Parcel, Values
from ui.refusal import Refusal
from ui.session import Session
from ui.stage import NOTHING, Stage

# What is shown while it runs: often enough for the eye.
_SHOWN_SECONDS: Final = 0.2
_CANCEL_TRIES: Final = 20
_CANCEL_SECONDS: Final = 0.25
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
        with gr.Row(elem_classes="sd-order"):
            self._make = gr.Button(
                "Make", variant="primary", scale=3, min_width=120, elem_id=f"sd-{self._tab}-make"
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
        self._status = gr.HTML(
            "",
            apply_default_css=False,
            elem_id=f"sd-{self._tab}-status",
            elem_classes="sd-status",
        )
        self._gallery = gr.HTML(
            NOTHING,
            js_on_load=cards.SCRIPT,
            apply_default_css=False,
            elem_id=f"sd-{self._tab}-gallery",
            elem_classes="sd-stage",
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
        given = [self._running, *form.inputs, *(inputs or [])]
        outputs = [*self._shown, form.control("seed"), *form.faults]
        self._page.on(self._make.click, self._order, given, outputs)
        self._page.on(
            self._cancel.click, self._end, [self._running], [], message=form.place("order")
        )
        self._page.on_load(self._again, [self._running], [*outputs, *form.outputs])
        self._page.send(self._gallery.click, parcel, [], told=True, message=self._message)

    @property
    def _shown(self) -> list[Any]:
        return [self._status, self._gallery, self._running, self._make, self._cancel]

    async def _order(self, session: Session, before: str, *given: Any) -> AsyncIterator[Values]:
        count = len(self._form.inputs)
        values = self._form.values(given[:count])
        identifier = session.new_id()
        if not values["lock"] or values["seed"] is None:
            values["seed"] = fields.random_seed()
        stage = Stage()
        begun = [stage.status(), gr.skip(), identifier, *_buttons(is_running=True)]
        yield [*begun, values["seed"], *self._form.no_fault()]
        try:
            wanted = fields.requested(values)
            image, mask = await self._pictures(*given[count:])
            stage.prediction = await session.order(
                wanted, image=image, mask=mask, identifier=identifier
            )
            async for shown in _watched(session, identifier, stage):
                yield [*shown, gr.skip(), *self._unchanged()]
        except Refusal as refusal:
            # What was there before stays, where nothing was ordered.
            yield self._refused(refusal, before if stage.prediction is None else identifier)
            return
        if (failure := stage.failure()) is not None:
            yield self._refused(Refusal(failure), identifier)

    async def _again(self, session: Session, identifier: str) -> AsyncIterator[Values]:
        """After a reload of the page: the latest order, and the form as it was."""
        unfilled = [gr.skip(), *self._unchanged(), *self._form.unchanged()]
        if not identifier:
            yield [*([gr.skip()] * len(self._shown)), *unfilled]
            return
        stage = Stage()
        try:
            stage.prediction = await session.find(identifier)
            # A seed that is there would be locked.
            wanted = {**stage.prediction.fields, "seed": None}
            filled = self._form.fill(await session.served(), wanted)
            found = [stage.status(), stage.pictures(), identifier, *_buttons(is_running=True)]
            yield [*found, gr.skip(), *self._unchanged(), *filled]
            async for shown in _watched(session, identifier, stage):
                yield [*shown, *unfilled]
        except Refusal as refusal:
            gone = refusal.status == 404
            idle = ["", NOTHING, "" if gone else gr.skip(), *_buttons(is_running=False)]
            faults = self._form.no_fault() if gone else self._form.fault(refusal, "order")
            yield [*idle, gr.skip(), *faults, *self._form.unchanged()]

    async def _end(self, session: Session, identifier: str) -> Values:
        for _ in range(_CANCEL_TRIES):
            try:
                await session.cancel(identifier)
            except Refusal as refusal:
                if refusal.status != 404:
                    raise
                # It may be on its way to the service still.
                await asyncio.sleep(_CANCEL_SECONDS)
            else:
                break
        return []

    def _refused(self, refusal: Refusal, latest: str) -> Values:
        idle = ["", gr.skip(), latest, *_buttons(is_running=False)]
        return [*idle, gr.skip(), *self._form.fault(refusal, "order")]

    def _unchanged(self) -> Values:
        return [gr.skip()] * len(self._form.faults)


async def _watched(session: Session, identifier: str, stage: Stage) -> AsyncIterator[Values]:
    """The status, the pictures, the id and the buttons, as the order goes on."""
    shown = 0.0
    async for event in session.watch(identifier):
        stage.tell(event)
        if stage.is_over or time.monotonic() - shown >= _SHOWN_SECONDS:
            shown = time.monotonic()
            buttons = _buttons(is_running=not stage.is_over)
            yield [stage.status(), stage.pictures(), identifier, *buttons]


def _buttons(*, is_running: bool) -> Values:
    return [gr.update(interactive=not is_running), gr.update(interactive=is_running)]


async def parcel(session: Session, told: Mapping[str, Any]) -> Parcel:
    """What the button of a card is for; see ``ui.cards.SCRIPT``."""
    prediction = await session.find(str(told.get("prediction")))
    index, action = int(told.get("index") or 0), told.get("action")
    if action in ("edit", "inpaint"):
        picture = await session.output(prediction.id, index)
        taken = {name: prediction.fields.get(name) for name in _TAKEN_OVER}
        return Parcel("edit", taken, picture)
    to = "text" if prediction.task == "txt2img" else "edit"
    return Parcel(to, prediction.once_more(index, vary=action == "vary"), make=True)
