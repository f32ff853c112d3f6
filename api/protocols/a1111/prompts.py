r"""Prompts in the web UI's syntax, written in ours (``engine.pipelines.prompt_syntax``).

There ``(a)`` weighs 1.1 and ``[a]`` 1/1.1, ``(a:1.3)`` as it says, and groups nest; a backslash
makes a bracket plain. ``<lora:name:0.8>`` adds a LoRA. What has no counterpart here stays in the
prompt as it is written, or is left out where it is no text, and is reported.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from api.errors import shown
from api.parameters import LoraParameter
from contract.errors import ErrorCode, RequestError

ROUND: Final = 1.1
SQUARE: Final = 1 / 1.1
# What a closed group weighs is worked out for each fragment in it.
MAX_BRACKETS: Final = 500

_NETWORK = re.compile(r"<(\w+):([^<>]*)>")
_LORAS = frozenset({"lora", "lyco"})
_BREAK = re.compile(r"\bBREAK\b")
_AND = re.compile(r"\bAND\b")
_PIECE = re.compile(r"\\[\\()\[\]]|[()\[\]]|[^\\()\[\]]+|\\")
_WEIGHT = re.compile(r":\s*([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))\s*\Z")
# Far beyond what any has here, so that products of them are numbers.
_LARGEST: Final = 1000.0


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt that was understood.

    Attributes:
        text: in our syntax.
        loras: those that it names.
        notes: what was not done as it is written, a sentence each.
    """

    text: str
    loras: tuple[LoraParameter, ...] = ()
    notes: tuple[str, ...] = ()


def understand(field: str, written: str, networks: bool = True) -> Prompt:
    """Read a prompt.

    Args:
        field: what the client calls it.
        written: of bounded length.
        networks: whether it may name LoRAs; in a negative prompt they are text.

    Raises:
        RequestError: OUT_OF_RANGE for too many brackets, INVALID_REQUEST for a LoRA without a name
            or a number.
    """
    notes: list[str] = []
    loras: list[LoraParameter] = []
    text = _without_networks(field, written, loras, notes) if networks else written
    if _BREAK.search(text):
        notes.append("BREAK is left out: long prompts are cut into chunks at punctuation")
        text = _BREAK.sub(" ", text)
    if _AND.search(text):
        notes.append("AND stands in the prompt as a word: prompts are not composed")
    brackets = sum(map(text.count, "()[]"))
    if not brackets and "\\" not in text:
        return Prompt(text, tuple(loras), tuple(notes))
    if brackets > MAX_BRACKETS:
        raise RequestError(
            ErrorCode.OUT_OF_RANGE,
            f"{field} must have at most {MAX_BRACKETS} brackets, got {brackets}",
            field=field,
        )
    return Prompt(_written(_fragments(text, notes)), tuple(loras), tuple(notes))


def _without_networks(
    field: str, written: str, loras: list[LoraParameter], notes: list[str]
) -> str:
    def taken(match: re.Match[str]) -> str:
        kind, arguments = match[1].lower(), match[2].split(":")
        if kind in _LORAS:
            loras.append(_lora(field, match[0], arguments, notes))
        else:
            notes.append(f"{shown(match[0])} is left out: there are no such networks")
        return ""

    return _NETWORK.sub(taken, written)


def _lora(field: str, tag: str, arguments: Sequence[str], notes: list[str]) -> LoraParameter:
    """A LoRA, as ``name:scale``; the text encoders' scale and that of the U-Net are one here."""
    name, *further = (argument.strip() for argument in arguments)
    named = dict(one.split("=", 1) for one in further if "=" in one)
    numbers = [one for one in further if "=" not in one]
    scale = next(iter([*numbers[:1], *(named[key] for key in ("unet", "te") if key in named)]), "1")
    others = {key: value for key, value in named.items() if value != scale}
    if others or any(number != scale for number in numbers):
        notes.append(f"{shown(tag)} has one scale for all its parts, {scale}")
    try:
        value = float(scale)
    except ValueError:
        value = math.nan
    if not name or not math.isfinite(value):
        raise RequestError(
            ErrorCode.INVALID_REQUEST,
            f"{field} must name a LoRA as <lora:name:scale>, got {shown(tag)}",
            field=field,
        )
    return LoraParameter(name, value)


@dataclass(slots=True)
class _Fragment:
    text: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class _Open:
    """A bracket that waits for its end: the index of its fragment, and its place in the text."""

    fragment: int
    place: int


def _fragments(text: str, notes: list[str]) -> list[_Fragment]:
    """Split a prompt at its groups. A bracket that opens one has an empty fragment of its own."""
    found: list[_Fragment] = []
    opened: dict[str, list[_Open]] = {"(": [], "[": []}

    def weigh(start: int, factor: float) -> None:
        for fragment in found[start:]:
            fragment.weight = min(max(fragment.weight * factor, -_LARGEST), _LARGEST)

    for match in _PIECE.finditer(text):
        piece = match[0]
        if piece in opened:
            opened[piece].append(_Open(len(found), match.start()))
            found.append(_Fragment(""))
        elif piece == ")" and opened["("]:
            group = opened["("].pop()
            weigh(group.fragment, _given_weight(found[-1], ROUND))
        elif piece == "]" and opened["["]:
            group = opened["["].pop()
            inside = text[group.place + 1 : match.start()]
            if "|" in inside or _WEIGHT.search(inside):
                notes.append(
                    f"{shown(f'[{inside}]')} stands in the prompt as it is written: it is the "
                    "same at each step"
                )
                found[group.fragment].text = "["
                found.append(_Fragment("]"))
            else:
                weigh(group.fragment, SQUARE)
        elif len(piece) == 2 and piece[0] == "\\":
            found.append(_Fragment(piece[1]))
        else:
            found.append(_Fragment(piece))
    # There, too, a group that has no end ends with the prompt.
    for bracket, factor in (("(", ROUND), ("[", SQUARE)):
        for group in opened[bracket]:
            weigh(group.fragment, factor)
    return found


def _given_weight(last: _Fragment, otherwise: float) -> float:
    """The weight at the end of a group, which is taken off its last text."""
    match = _WEIGHT.search(last.text)
    if match is None:
        return otherwise
    last.text = last.text[: match.start()]
    return min(max(float(match[1]), -_LARGEST), _LARGEST)


def _written(fragments: Sequence[_Fragment]) -> str:
    """The fragments in our syntax, where brackets mean nothing unless a weight is in them."""
    pieces: list[str] = []
    textual = (fragment for fragment in fragments if fragment.text)
    for weight, equal in groupby(textual, key=lambda fragment: f"{fragment.weight:.6g}"):
        text = re.sub(r"([()])", r"\\\1", "".join(fragment.text for fragment in equal))
        if pieces and pieces[-1].endswith("\\"):
            # Else it would make the bracket behind it a plain one.
            pieces.append(" ")
        pieces.append(text if weight == "1" or not text.strip() else f"({text}:{weight})")
    return "".join(pieces)
