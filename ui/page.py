"""The page: what each tab gets, and the ways between them.

A tab is a module with one function, ``build(page, tab)``, which is called within ``with tab:`` and
adds components there. It reacts to them by the methods of ``page`` only, never by Gradio's own, so
that its functions get the session of the visitor, and a refusal of the service becomes a sentence:

- ``page.on(button.click, fn, inputs, outputs, message=place)``: ``fn(session, *values)`` is an
  async function that returns a list with a value for each output, or an async generator that yields
  such lists. A ``Refusal`` that it raises is shown in ``message`` (of ``ui.messages.place``), which
  is hidden again when ``fn`` returns. With ``told=True``, ``fn(session, data, *values)`` gets the
  data of the event: what JavaScript gave to ``trigger`` in a ``gr.HTML``.
- ``page.on_models(fn, outputs)``: ``fn(served)``, an ordinary function, returns the updates of what
  depends on the models (choices, limits). It is called when the page is opened, and when a key is
  entered.
- ``page.on_load(fn, inputs, outputs, message=place)``: like ``on``, after that.
- ``page.receive(to, fill, outputs)``: ``fill(served, parcel)`` returns the updates of the tab with
  the id ``to`` when another one sends it something.
- ``page.send(button.click, fn, inputs, message=place)``: ``fn(session, *values)`` returns a
  ``Parcel``; the tab that it is for is filled, and shown. ``told`` as above.

``tab.select`` is the trigger that tells that a tab is shown. Components that have to survive a
reload are ``gr.BrowserState(..., storage_key=f"sd-{tab}-{what}", secret=Page.SECRET)``; keys do not
belong there. Pictures of predictions are shown by ``output.link`` (of ``ui.prediction.Output``) as
the ``src`` of an ``<img>``: the page passes the very file on, and keeps none. All text in HTML goes
through ``html.escape``.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import gradio as gr
from gradio.components import Component

from ui.reactions import Reaction, around
from ui.reactions import Values as Values
from ui.served import Served
from ui.service import Service
from ui.session import Session

Trigger = Callable[..., Any]
# Gets a session and the values of its inputs; None sends nothing.
Sender = Callable[..., Awaitable["Parcel | None"]]

_AGAIN_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Parcel:
    """What one tab sends to another one.

    Attributes:
        to: the id of the tab: ``text`` or ``edit``, and those of the others.
        fields: fields of the API (``prompt``, ``model``, ``seed``, ``loras`` ...): the form has
            them then, and the model's defaults where they are absent. None at all leave the form
            as it is.
        picture: a PNG, JPEG or WebP file.
        make: whether to make the picture at once.
        show: whether the tab is shown.
    """

    to: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    picture: bytes | None = None
    make: bool = False
    show: bool = True


@dataclass(frozen=True, slots=True)
class _Receiver:
    fill: Callable[[Served, Parcel], Values]
    outputs: Sequence[Component]


class Page:
    """See the module.

    Args:
        service: has the connections to the service.
        key: the field with the visitor's own key, which comes with each event.
        tag: the secret of the visitor's browser, likewise.
        tabs: all tabs.
    """

    # Of what Gradio keeps in the browser. It is no secret, as the page has it; that it stays the
    # same lets what is kept survive a new start of the page.
    SECRET: Final = "stable-diffusion"  # noqa: S105

    def __init__(
        self, service: Service, key: gr.Textbox, tag: gr.BrowserState, tabs: gr.Tabs
    ) -> None:
        self.service = service
        self.key = key
        self.tag = tag
        self._tabs = tabs
        self._of_models: list[tuple[Callable[[Served], Values], Sequence[Component]]] = []
        self._at_load: list[tuple[Reaction, Values, Values, gr.HTML | None]] = []
        self._receivers: dict[str, _Receiver] = {}
        self._senders: list[tuple[Trigger, Sender, Values, gr.HTML | None, bool]] = []

    def session(self, request: gr.Request, key: str | None, tag: str | None) -> Session:
        """The session of a visitor, from what his browser has sent."""
        given = request.headers.get("x-forwarded-for", "")
        peer = request.client.host if request.client else ""
        forwarded = ", ".join(part for part in (given, peer) if part)
        return self.service.session(key or "", tag or "", forwarded)

    def on(
        self,
        trigger: Trigger,
        fn: Reaction,
        inputs: Values = (),
        outputs: Values = (),
        *,
        message: gr.HTML | None = None,
        told: bool = False,
        **options: Any,
    ) -> Any:
        """React to an event; see the module. ``options`` are those of Gradio's listeners."""
        shown = [] if message is None else [message]
        # What is not shown piece by piece need not wait for its turn; without a place for it, a
        # refusal passes by as Gradio's warning, which needs the queue.
        queued = inspect.isasyncgenfunction(fn) or message is None
        return trigger(
            around(fn, self.session, len(outputs), message, told),
            [self.key, self.tag, *inputs],
            [*outputs, *shown],
            **{
                # Gradio would draw how long it takes on each output; this one has nothing to
                # show it with.
                "show_progress": "hidden",
                "show_progress_on": self.tag,
                "api_visibility": "private",
                "queue": queued,
                **options,
            },
        )

    def on_models(self, fn: Callable[[Served], Values], outputs: Sequence[Component]) -> None:
        """Have components follow the models; see the module."""
        self._of_models.append((fn, outputs))

    def on_load(
        self,
        fn: Reaction,
        inputs: Values = (),
        outputs: Values = (),
        *,
        message: gr.HTML | None = None,
    ) -> None:
        """React to the opening of the page; see the module."""
        self._at_load.append((fn, inputs, outputs, message))

    def receive(
        self, to: str, fill: Callable[[Served, Parcel], Values], outputs: Sequence[Component]
    ) -> None:
        """Take what other tabs send to the one with this id; see the module."""
        self._receivers[to] = _Receiver(fill, outputs)

    def send(
        self,
        trigger: Trigger,
        fn: Sender,
        inputs: Values = (),
        *,
        message: gr.HTML | None = None,
        told: bool = False,
    ) -> None:
        """Send a parcel to another tab; see the module."""
        self._senders.append((trigger, fn, inputs, message, told))

    def finish(self) -> None:
        """Connect the tabs, once all are built."""
        outputs = [one for receiver in self._receivers.values() for one in receiver.outputs]
        # The tab that is to make something: its button is pressed, once its form is filled.
        maker = gr.Textbox(visible=False)
        for trigger, fn, inputs, message, told in self._senders:
            sent = self.on(
                trigger,
                self._delivery(fn),
                inputs,
                [self._tabs, maker, *outputs],
                message=message,
                told=told,
            )
            sent.then(None, maker, None, js="(tab) => window.sdMake(tab)")

    def load(
        self,
        opened: Trigger,
        wanted: Callable[..., Awaitable[tuple[Values, Served | None, bool]]],
        inputs: Values,
        outputs: Values,
        **options: Any,
    ) -> None:
        """React to the opening of the page.

        Args:
            opened: when.
            wanted: the shell's own part: returns the values of ``outputs``; what is served, None
                where that is not known; and whether it need not be asked again in a moment.
            inputs: its values.
            outputs: see ``wanted``.
            options: those of Gradio's listeners.
        """
        followers = [one for _, each in self._of_models for one in each]

        async def opening(session: Session, *values: Any) -> AsyncIterator[Values]:
            while True:
                own, served, is_final = await wanted(session, *values)
                if served is not None:
                    yield [*own, *(one for fn, _ in self._of_models for one in fn(served))]
                else:
                    yield [*own, *(gr.skip() for _ in followers)]
                if is_final:
                    return
                await asyncio.sleep(_AGAIN_SECONDS)

        after = self.on(opened, opening, inputs, [*outputs, *followers], **options)
        for fn, given, shown, message in self._at_load:
            self.on(after.then, fn, given, shown, message=message)

    def _delivery(self, fn: Sender) -> Callable[..., Awaitable[Values]]:
        async def deliver(session: Session, *values: Any) -> Values:
            parcel = await fn(session, *values)
            if parcel is None:
                return [gr.skip(), "", *(gr.skip() for one in receivers for _ in one.outputs)]
            served = await session.served()
            updates: list[Any] = [gr.Tabs(selected=parcel.to) if parcel.show else gr.skip()]
            updates.append(parcel.to if parcel.make else "")
            for name, receiver in self._receivers.items():
                if name == parcel.to:
                    updates += receiver.fill(served, parcel)
                else:
                    updates += [gr.skip() for _ in receiver.outputs]
            return updates

        receivers = self._receivers.values()
        return deliver
