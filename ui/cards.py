"""Cards: pictures with their parameters and what can be done with them, as HTML.

With ``tiles.TELL``, a button is the event ``click`` with its action, prediction and index.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from ui.prediction import Output, Prediction

_ENDINGS: Final = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
_ACTIONS: Final = {
    "edit": ("Edit", "Send to picture → picture"),
    "inpaint": ("Inpaint", "Paint over a part of it"),
    "again": ("Same again", "Make the same picture once more"),
    "vary": ("Vary seed", "The same with another seed"),
}
_HIDDEN: Final = ("prompt", "previews", "width", "height")
# Fields whose name in the API is not what people call them.
_NAMES: Final = {
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "num_images": "pictures",
    "output_format": "file format",
}


def gallery(prediction: Prediction) -> str:
    """The finished pictures of a prediction."""
    cards = "".join(card(prediction, output) for output in prediction.outputs)
    return f'<div class="sd-gallery">{cards}</div>'


def card(prediction: Prediction, output: Output, actions: Sequence[str] = tuple(_ACTIONS)) -> str:
    """A finished picture.

    Args:
        prediction: that it is of.
        output: it.
        actions: what is offered beside the download, of ``edit``, ``inpaint``, ``again``, ``vary``.
    """
    link = escape(output.link)
    place = f'data-prediction="{escape(prediction.id)}" data-index="{output.index}"'
    buttons = "".join(
        f'<button type="button" data-tell="click" data-action="{name}" '
        f'title="{_ACTIONS[name][1]}" {place}>'
        f"{_ACTIONS[name][0]}</button>"
        for name in actions
    )
    found = [*output.warnings, *(f"Screening: {name}." for name in output.screening)]
    remarks = "".join(f'<p class="sd-remark">{escape(sentence)}</p>' for sentence in found)
    return (
        '<figure class="sd-card">'
        f'<a class="sd-picture" href="{link}" target="_blank" aria-label="Show it in full size">'
        f'<img src="{link}" alt="{escape(output.prompt or "A picture without a prompt")}" '
        f'width="{output.width}" height="{output.height}"></a>'
        f"<figcaption>{_caption(prediction, output)}{remarks}</figcaption>"
        f'<div class="sd-actions">{buttons}'
        f'<a class="sd-download" href="{link}" download="{escape(file_name(prediction, output))}">'
        "Download</a></div></figure>"
    )


def file_name(prediction: Prediction, output: Output) -> str:
    """Of the picture, when it is saved: model, seed and ending."""
    return f"{prediction.model}-{output.seed}.{_ENDINGS.get(output.media_type, 'png')}"


def settings(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of fields of the API, for people."""
    given = dict(fields)
    if "size" not in given and {"width", "height"} <= given.keys():
        given["size"] = f"{given['width']} × {given['height']}"
    return [
        (_NAMES.get(name, name.replace("_", " ")), _shown(value))
        for name, value in given.items()
        if name not in _HIDDEN and value is not None
    ]


def settings_rows(fields: Mapping[str, Any]) -> str:
    """The same as what is in a ``<dl>``."""
    return "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in settings(fields)
    )


def _caption(prediction: Prediction, output: Output) -> str:
    size = f"{output.width} × {output.height}"
    rows = settings_rows(prediction.fields | {"seed": output.seed, "size": size})
    return (
        f'<details><summary>Seed {output.seed}<span class="sd-quiet"> · {size} · '
        f"{escape(prediction.model)}</span></summary>"
        f'<p class="sd-prompt">{escape(output.prompt)}</p><dl>{rows}</dl></details>'
    )


def _shown(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(one, dict) and "name" in one for one in value):
        return ", ".join(f"{one['name']} ({_scale(one):g})" for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')}: {one}" for name, one in value.items())
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _scale(lora: Mapping[str, Any]) -> float:
    """As the API has it by default, where it is not given."""
    scale = lora.get("scale")
    return 1.0 if scale is None else float(scale)
