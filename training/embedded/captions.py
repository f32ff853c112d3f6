"""The sentences that describe a scene."""

from __future__ import annotations

from collections.abc import Sequence

from training.embedded.scenes import Scene

PROMPT = "{object} on {ground} background"
"""The form that the documentation teaches and the evaluation uses."""

_PLAIN = (
    PROMPT,
    "a picture of {object} on {ground} background",
    "{object} in front of {ground} background",
    "an emoji of {object}, {style} style, {colour} background",
    "{noun}, {colour} background",
    "{noun} on {colour}",
    "{object}",
)
_GRADIENT = ("{object} on {ground} and {other} background",)


def with_article(noun: str) -> str:
    """The noun with the indefinite article: `an owl`, `a unicorn`."""
    vowel = noun[0] in "aeiou" and not noun.startswith("uni")
    return f"{'an' if vowel else 'a'} {noun}"


def prompt(noun: str, colour: str) -> str:
    """The standard prompt for an object on a background colour."""
    return PROMPT.format(object=with_article(noun), ground=with_article(colour))


def captions(scene: Scene) -> Sequence[str]:
    """All sentences that describe a scene, the standard prompt first."""
    templates = _PLAIN if len(scene.background) == 1 else _GRADIENT
    return [
        template.format(
            object=with_article(scene.subject.name),
            noun=scene.subject.name,
            style=scene.style,
            colour=scene.background[0],
            ground=with_article(scene.background[0]),
            other=scene.background[-1],
        )
        for template in templates
    ]
