"""Fine-tuned: the subjects that the service was taught, with an example picture of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from html import escape
from typing import Any, Final

import gradio as gr

from ui import messages, tiles
from ui.page import Page, Parcel, Values
from ui.refusal import Refusal
from ui.served import Model
from ui.session import Session
from ui.thumbnails import Thumbnails

# Examples that are made at once, or looked for.
_AT_ONCE: Final = 4
_MOST: Final = 48
_KINDS: Final = {"lora": "LoRA", "full": "successor"}
_INTRODUCTION = """\
Models that were tuned for a subject, or a style. The word stands for the subject: write it into a
prompt, and choose the model, or `auto`, which goes by the word.
"""
_NONE = """\
No fine-tuned models are served here. One that is registered appears here at once, with the word
that stands for its subject.
"""


def build(page: Page, tab: gr.Tab) -> None:
    """Fill the tab."""
    # They are nobody's: each follows from its model alone.
    examples = Thumbnails()
    gr.Markdown(_INTRODUCTION)
    message = messages.place("sd-taught-message")
    with gr.Row():
        missing = gr.Button(
            "Make the examples",
            scale=0,
            min_width=200,
            size="md",
            visible=False,
            elem_id="sd-taught-make",
        )
    shown = gr.HTML(js_on_load=tiles.TELL, elem_id="sd-taught-list")

    def updates(models: Sequence[Model], making: frozenset[str] = frozenset()) -> Values:
        names = [model.name for model in models if examples.kept(_name(model)) is None]
        html = "".join(_tile(one, examples.kept(_name(one)), one.name in making) for one in models)
        label = f"Make the {len(names)} examples"
        idle = len(names) > 1 and not making
        return [
            f"<div class='sd-tiles sd-subjects'>{html}</div>"
            if models
            else f"<p>{escape(_NONE)}</p>",
            gr.update(visible=idle, value=label),
        ]

    async def look(session: Session) -> Values:
        models = _tuned((await session.served()).models)
        places = asyncio.Semaphore(_AT_ONCE)

        async def remember(model: Model) -> None:
            async with places:
                await _made_before(session, examples, model)

        await asyncio.gather(*(remember(one) for one in models))
        return updates(models)

    async def make(session: Session, wanted: Mapping[str, Any]) -> AsyncIterator[Values]:
        models = _tuned((await session.served()).models)
        left = [
            one
            for one in models
            if wanted.get("name", one.name) == one.name and examples.kept(_name(one)) is None
        ]
        places = asyncio.Semaphore(_AT_ONCE)

        async def example(model: Model) -> None:
            async with places:
                await _make(session, examples, model)

        tasks = {asyncio.create_task(example(one)): one.name for one in left}
        try:
            pending = set(tasks)
            while pending:
                yield updates(models, frozenset(tasks[task] for task in pending))
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            yield updates(models)
        except Refusal:
            yield updates(models)
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def make_all(session: Session) -> AsyncIterator[Values]:
        async for values in make(session, {}):
            yield values

    async def use(session: Session, pressed: Mapping[str, Any]) -> Parcel:
        model = (await session.served()).model(str(pressed.get("name")))
        return Parcel("text", {"model": model.name, "prompt": _prompt(model)})

    page.on(tab.select, look, outputs=[shown, missing], message=message)
    page.on(missing.click, make_all, outputs=[shown, missing], message=message)
    page.on(shown.submit, make, outputs=[shown, missing], message=message, told=True)
    page.send(shown.select, use, message=message, told=True)


def _tuned(models: Sequence[Model]) -> list[Model]:
    return [model for model in models if model.base is not None][:_MOST]


def _prompt(model: Model) -> str:
    """As its training has called the subject, by default."""
    named = model.fine_tuning or {}
    words = [word for word in (model.subject_token, named.get("class_name")) if word]
    return f"a {' '.join(words)}" if words else f"a picture by {model.name}"


def _name(model: Model) -> str:
    """The name of its example: another one where the model was made again."""
    created = (model.fine_tuning or {}).get("created")
    return f"example of {model.name}, made {created}: {_prompt(model)}"


async def _made_before(session: Session, examples: Thumbnails, model: Model) -> None:
    """Take the example that this visitor has had made, if the service still has it."""
    identifier = session.id_of(_name(model))
    if examples.kept(_name(model)) is not None:
        return
    try:
        found = await session.find(identifier)
        if found.outputs:
            await examples.of(_name(model), lambda: session.output(identifier, 0))
    except (Refusal, OSError):
        # It can be made.
        return


async def _make(session: Session, examples: Thumbnails, model: Model) -> None:
    """Have the example made, and keep it. Raises ``Refusal``."""
    identifier = session.id_of(_name(model))
    fields = {"model": model.name, "prompt": _prompt(model), "seed": 0}
    ordered = await session.order(fields, identifier=identifier)
    if ordered.is_over and not ordered.outputs:
        await session.delete(identifier)
        ordered = await session.order(fields, identifier=identifier)
    async for event in session.watch(identifier):
        if event.name == "completed" and event.data["status"] != "succeeded":
            raise Refusal(
                f"No example of {model.name}: {event.data['error'] or 'it was cancelled'}"
            )
    try:
        await examples.of(_name(model), lambda: session.output(identifier, 0))
    except OSError:
        raise Refusal(f"The example of {model.name} cannot be shown.") from None


def _tile(model: Model, example: bytes | None, is_making: bool) -> str:
    tuning = model.fine_tuning or {}
    token = model.subject_token
    facts = [
        f"{_KINDS.get(model.kind, model.kind)} of {model.base}",
        *([f"{tuning['steps']} steps"] if tuning.get("steps") else []),
        str(tuning.get("created") or "")[:10],
    ]
    title = f"<strong class='sd-token'>{escape(token or model.name)}</strong>"
    named = escape(model.name) + (
        f", a {escape(tuning['class_name'])}" if tuning.get("class_name") else ""
    )
    waiting = "Being made …" if is_making else "No example yet"
    make = (
        "" if example or is_making else tiles.button("Make an example", "submit", name=model.name)
    )
    return (
        "<article class='sd-subject'>"
        f"{tiles.picture(example, f'An example: {_prompt(model)}', waiting)}"
        f"<h2>{title}</h2><p>{named}</p>"
        f"<p class='sd-quiet'>{escape(', '.join(filter(None, facts)))}</p>"
        f"<div class='sd-buttons'>{tiles.button('Use it', 'select', 'sd-primary', name=model.name)}"
        f"{make}</div></article>"
    )
