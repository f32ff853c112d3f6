"""The controls of a form, in the order in which they are shown."""

from __future__ import annotations

from typing import Any, Final

import gradio as gr
from gradio.components import Component

from ui import fields, messages

# Of the control for the size: as the picture that is sent, and another one than those offered.
AS_PICTURE: Final = "picture"
OTHER: Final = "other"
_SIZE_JS: Final = """(size, width, height) => {
    const sides = /^(\\d+)x(\\d+)$/.exec(size);
    if (sides) return [Number(sides[1]), Number(sides[2])];
    return size === "picture" ? [null, null] : [width, height];
}"""
_DICE_JS: Final = "() => [Math.floor(Math.random() * 2 ** 32), true]"


class Controls:
    """Adds them where it is made.

    Args:
        tab: the id of its tab.
        of_picture: whether pictures are made of one: there is a strength, then.

    Attributes:
        by_name: the controls; those of the API's fields are called like them.
        scales: of the LoRAs.
        places: of faults, by the field, shared ones by the first of them.
        refiner: the part about it.
        more: what is rarely changed.
        under_prompt: where the buttons go, in sight on any screen.
    """

    def __init__(self, tab: str, *, of_picture: bool) -> None:
        self.by_name: dict[str, Component] = {}
        self.scales: list[Any] = []
        self.places: dict[str, gr.HTML] = {}
        self._tab = tab
        if of_picture:
            self.place("image")
        self._prompts()
        self._model()
        if of_picture:
            self._strength()
        self._size()
        self._steps()
        self._seed()
        with gr.Accordion(
            "Refiner", open=False, visible=False, elem_id=self._id("refiner-part")
        ) as self.refiner:
            self._refine()
        with gr.Accordion("More", open=False) as self.more:
            self._rare()

    def place(self, name: str) -> None:
        """Add the place for a field's faults here."""
        self.places[name] = messages.place(f"sd-{self._tab}-{name}-fault")

    def _prompts(self) -> None:
        self._box("prompt", "Prompt", 3, placeholder="What the picture shows")
        self.place("prompt")
        self.under_prompt = gr.Column(elem_classes="sd-under-prompt")
        self._box("negative_prompt", "Negative prompt", 1, placeholder="What it should not show")
        self.place("negative_prompt")

    def _model(self) -> None:
        self._choice("model", "Model")
        self.place("model")
        self._choice("loras", "LoRAs", multiselect=True, visible=False)
        for index in range(fields.LORAS):
            self._slider(f"scale_{index}", "Scale", -2, 2, 0.05, visible=False)
            self.scales.append(self.by_name[f"scale_{index}"])
        self.place("loras")

    def _strength(self) -> None:
        self._slider(
            "strength", "Strength", 0.05, 1, 0.01, info="How much of the picture is made anew"
        )
        self.place("strength")

    def _size(self) -> None:
        with gr.Row():
            self._choice("size", "Size", scale=3, min_width=260)
            # The two stay beside each other.
            with gr.Column(scale=2, min_width=180), gr.Row():
                self._number("width", "Width", min_width=80)
                self._number("height", "Height", min_width=80)
        size: Any = self.by_name["size"]
        sides: list[Any] = [self.by_name["width"], self.by_name["height"]]
        size.input(None, [size, *sides], sides, js=_SIZE_JS)
        for side in sides:
            side.input(None, None, size, js=f'() => "{OTHER}"')
        self.place("width")

    def _steps(self) -> None:
        with gr.Row():
            self._slider("num_inference_steps", "Steps", 1, 150, 1)
            self._slider("guidance_scale", "Guidance", 0, 30, 0.1)
        self.place("num_inference_steps")
        self.place("guidance_scale")
        with gr.Row():
            self._choice("scheduler", "Scheduler", min_width=200)
            self._slider("num_images", "Pictures", 1, 8, 1)
        self.place("scheduler")
        self.place("num_images")

    def _seed(self) -> None:
        with gr.Row(elem_classes="sd-seed"):
            self._number("seed", "Seed", scale=3)
            dice = gr.Button("Dice", min_width=60, elem_id=self._id("dice"))
            self._tick("lock", "Lock", min_width=70)
        dice.click(None, None, [self.by_name["seed"], self.by_name["lock"]], js=_DICE_JS)
        self.place("seed")

    def _refine(self) -> None:
        self._tick("refine", "Let a refiner finish the picture")
        self._choice("refiner", "Refiner model")
        self._slider(
            "switch_at",
            "Switch point",
            0.05,
            0.95,
            0.05,
            info="The part of the schedule that the model itself does",
        )
        self.place("refiner")

    def _rare(self) -> None:
        self._slider("guidance_start", "Guidance from", 0, 1, 0.01)
        self._slider("guidance_end", "Guidance to", 0, 1, 0.01)
        self._slider("guidance_rescale", "Guidance rescale", 0, 1, 0.01)
        self.place("guidance")
        self._choice("output_format", "File format")
        self.place("output_format")
        self._tick("expand_prompt", "Choose among {red|green} in the prompt")
        self.place("expand_prompt")
        self._tick("previews", "Show unfinished pictures")
        self._box(
            "further",
            "Further fields",
            1,
            placeholder='{"crop": [0, 0]}',
            info="Of the API, as JSON",
        )
        self.place("further")

    def _box(self, name: str, label: str, lines: int, **options: Any) -> None:
        self._add(name, gr.Textbox, label=label, lines=lines, max_lines=12, **options)

    def _choice(self, name: str, label: str, **options: Any) -> None:
        self._add(name, gr.Dropdown, choices=[], label=label, **{"min_width": 160, **options})

    def _number(self, name: str, label: str, **options: Any) -> None:
        self._add(name, gr.Number, label=label, precision=0, **{"min_width": 120, **options})

    def _slider(
        self, name: str, label: str, least: float, most: float, step: float, **options: Any
    ) -> None:
        bounds = {"minimum": least, "maximum": most, "step": step}
        self._add(name, gr.Slider, label=label, min_width=160, **bounds, **options)

    def _tick(self, name: str, label: str, **options: Any) -> None:
        self._add(name, gr.Checkbox, label=label, container=False, **options)

    def _add(self, name: str, kind: Any, **options: Any) -> None:
        self.by_name[name] = kind(elem_id=self._id(name), **options)

    def _id(self, name: str) -> str:
        return f"sd-{self._tab}-{name}"
