"""Functions as Gradio calls them, around those of the tabs: with a session."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, cast

import gradio as gr

from ui import messages
from ui.refusal import Refusal
from ui.session import Session

Values = Sequence[Any]
Reaction = Callable[..., Awaitable[Values] | AsyncIterator[Values]]
Steps = AsyncGenerator[Values, None]
# From the request, the visitor's key and the tag of his browser.
Sessions = Callable[[gr.Request, str | None, str | None], Session]


def around(
    fn: Reaction, sessions: Sessions, count: int, message: gr.HTML | None, told: bool
) -> Callable[..., Any]:
    """The function that Gradio calls; it goes by the annotations of its parameters.

    Args:
        fn: gets a session, the data of the event if it is ``told``, and the values of its inputs.
        sessions: opens the session.
        count: how many outputs it has, without the message.
        message: shows what it raises.
        told: see ``fn``.
    """

    def values(event: gr.EventData | None, given: Values) -> Values:
        return [(event and event._data) or {}, *given] if told else given

    if inspect.isasyncgenfunction(fn):

        async def steps(
            request: gr.Request,
            event: gr.EventData,
            key: str | None,
            tag: str | None,
            *given: Any,
        ) -> AsyncIterator[Any]:
            try:
                session = sessions(request, key, tag)
                # What it has begun ends with it, where the visitor has left.
                made = cast(Steps, fn(session, *values(event, given)))
                async with aclosing(made) as shown:
                    async for outputs in shown:
                        yield _listed(outputs, count, message)
            except Refusal as refusal:
                yield _refused(refusal, count, message)

        return steps

    async def once(
        request: gr.Request, event: gr.EventData, key: str | None, tag: str | None, *given: Any
    ) -> Any:
        try:
            outputs = await fn(sessions(request, key, tag), *values(event, given))  # type: ignore[misc]
        except Refusal as refusal:
            return _refused(refusal, count, message)
        return _listed(outputs, count, message)

    return once


def _listed(outputs: Values, count: int, message: gr.HTML | None) -> Any:
    """The outputs and the message, which is hidden."""
    if len(outputs) != count:
        raise ValueError(f"{len(outputs)} values for {count} outputs")
    return _alone([*outputs, *([] if message is None else [messages.nothing()])])


def _refused(refusal: Refusal, count: int, message: gr.HTML | None) -> Any:
    """The outputs as they are, and the message; without a place for it, it passes by."""
    unchanged = [gr.skip() for _ in range(count)]
    if message is None:
        gr.Warning(refusal.sentence)
        return _alone(unchanged)
    return _alone([*unchanged, messages.wrong(refusal)])


def _alone(values: list[Any]) -> Any:
    """A single one as itself: Gradio takes a list for the value of one output."""
    if not values:
        return None
    return values[0] if len(values) == 1 else values
