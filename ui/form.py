"""The form of a tab that makes pictures: its values, and where each field's faults are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import gradio as gr
from gradio.components import Component

from ui import fields, messages, sizes
from ui.controls import AS_PICTURE, OTHER, Controls
from ui.page import Page, Values
from ui.refusal import Refusal
from ui.served import AUTO, Model, Served
from ui.session import Session

# The places of faults that several fields share.
_SHARED: Final = {
    "height": "width",
    "guidance_start": "guidance",
    "guidance_end": "guidance",
    "guidance_rescale": "guidance",
    "img": "image",
    "mask": "image",
}
_IN_MORE: Final = ("guidance", "output_format", "expand_prompt", "further")
# What a visitor has written stays when he takes another model.
_KEPT: Final = (
    "prompt",
    "negative_prompt",
    "num_images",
    "output_format",
    "seed",
    "lock",
    "expand_prompt",
    "further",
)


class Form:
    """Adds its controls where it is made.

    Args:
        page: the page.
        tab: its id.
        task: ``txt2img``; ``img2img`` has a strength too, and sizes as those of the picture.
    """

    def __init__(self, page: Page, tab: str, task: str) -> None:
        self._task = task
        self._of_picture = task != "txt2img"
        self._controls = controls = Controls(tab, of_picture=self._of_picture)
        page.on_models(lambda served: self.fill(served, {}), self.outputs)
        model: Any = controls.by_name["model"]
        page.on(
            model.input,
            self._model_taken,
            self.inputs,
            self.outputs,
            message=controls.places["model"],
        )
        loras: Any = controls.by_name["loras"]
        page.on(
            loras.input, _loras_taken, [loras], controls.scales, message=controls.places["loras"]
        )

    @property
    def inputs(self) -> list[Component]:
        """All controls, for ``values``."""
        return list(self._controls.by_name.values())

    @property
    def outputs(self) -> list[Any]:
        """All controls and the refiner's part, for ``fill``."""
        return [*self.inputs, self._controls.refiner]

    @property
    def faults(self) -> list[Any]:
        """What shows faults, for ``fault`` and ``no_fault``."""
        return [*self._controls.places.values(), self._controls.more]

    @property
    def under_prompt(self) -> gr.Column:
        """A place for buttons, empty so far."""
        return self._controls.under_prompt

    def control(self, name: str) -> Component:
        """A control."""
        return self._controls.by_name[name]

    def place(self, name: str) -> gr.HTML:
        """The place of a fault; a new one is added here."""
        if name not in self._controls.places:
            self._controls.place(name)
        return self._controls.places[name]

    def values(self, given: Sequence[Any]) -> dict[str, Any]:
        """The values of the controls by name, from those of ``inputs``."""
        return dict(zip(self._controls.by_name, given, strict=True))

    def fill(self, served: Served, wanted: Mapping[str, Any]) -> Values:
        """The updates of ``outputs`` that show fields of the API."""
        return self._updates(served, fields.controls(served, wanted, self._task))

    def unchanged(self) -> Values:
        """The updates of ``outputs`` that leave them as they are."""
        return [gr.skip() for _ in self.outputs]

    def fault(self, refusal: Refusal, otherwise: str) -> Values:
        """The updates of ``faults`` that show a refusal at its field.

        Args:
            refusal: names the field.
            otherwise: the place of one that names none, or none of the form.
        """
        field = (refusal.field or otherwise).partition(".")[0]
        field = _SHARED.get(field, field)
        places = self._controls.places
        name = field if field in places else otherwise
        shown = [messages.wrong(refusal) if one == name else messages.nothing() for one in places]
        return [*shown, gr.update(open=True) if name in _IN_MORE else gr.skip()]

    def no_fault(self) -> Values:
        """The updates of ``faults`` that hide them all."""
        return [*(messages.nothing() for _ in self._controls.places), gr.skip()]

    async def _model_taken(self, session: Session, *given: Any) -> Values:
        served, now = await session.served(), self.values(given)
        model = fields.chosen(served, now["model"], self._task)
        values = fields.defaults(served, model, self._task)
        if now["model"] == AUTO:
            values["model"] = AUTO
        return self._updates(served, values | {name: now[name] for name in _KEPT})

    def _updates(self, served: Served, values: Mapping[str, Any]) -> Values:
        """The updates of ``outputs``: values, and what depends on the model."""
        model = fields.chosen(served, values["model"], self._task)
        refiners = served.refiners(model)
        offered = self._sizes(served, model, values)
        known = {**values, "size": offered["value"]}
        more = {**self._choices(served, model), "size": offered, **_scales(values["loras"])}
        updates = [
            gr.update(**{"value": known[name], **more.get(name, {})})
            for name in self._controls.by_name
        ]
        return [*updates, gr.update(visible=bool(refiners), open=bool(values["refine"]))]

    def _choices(self, served: Served, model: Model) -> dict[str, dict[str, Any]]:
        limits, loras = served.limits, [lora.name for lora in served.loras(model)]
        own = (f"{model.defaults['scheduler']} (default)", "")
        return {
            "model": {"choices": self._models(served), "info": model.description},
            "loras": {
                "choices": loras,
                "visible": bool(loras),
                "max_choices": min(limits.max_loras, fields.LORAS),
            },
            "width": {"step": model.multiple_of},
            "height": {"step": model.multiple_of},
            "num_inference_steps": {"maximum": limits.max_steps},
            "scheduler": {"choices": [own, *((name, name) for name in served.schedulers)]},
            "num_images": {"maximum": limits.max_images},
            "refiner": {"choices": list(served.refiners(model))},
            "output_format": {"choices": list(served.output_formats)},
            "previews": {"visible": model.shows_previews},
        }

    def _models(self, served: Served) -> list[tuple[str, str]]:
        able = served.able(self._task)
        named = [(model.name, model.name) for model in able]
        if any(model.subject_token for model in able):
            named.append(("auto: the subject in the prompt decides", AUTO))
        return named

    def _sizes(self, served: Served, model: Model, values: Mapping[str, Any]) -> dict[str, Any]:
        """Choices and value of the size."""
        width, height = values["width"], values["height"]
        offered = [(label, f"{w}x{h}") for label, (w, h) in sizes.presets(model, served.limits)]
        value = f"{width}x{height}"
        if self._of_picture:
            offered = [("As the picture", AS_PICTURE), *offered]
            value = AS_PICTURE if width is None and height is None else value
        if value not in [one for _, one in offered]:
            value = OTHER
        return {"choices": [*offered, ("Another size", OTHER)], "value": value}


def _scales(loras: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The sliders of the LoRAs that are taken, and the hidden ones."""
    shown = {
        f"scale_{index}": {"label": f"Scale of {name}", "visible": True}
        for index, name in enumerate(loras)
    }
    hidden = range(len(loras), fields.LORAS)
    return {**shown, **{f"scale_{index}": {"visible": False} for index in hidden}}


async def _loras_taken(_: Session, names: Sequence[str]) -> Values:
    return [gr.update(**update) for update in _scales(names or ()).values()]
