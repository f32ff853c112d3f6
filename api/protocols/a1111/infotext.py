"""Parameters as text, read as the web UI reads them: into its names for them."""

from __future__ import annotations

import json
import re
from typing import Final

NEGATIVE: Final = "Negative prompt:"
# A last line with fewer pairs is one of the prompt.
_FEWEST: Final = 3
# Of more pairs, the first ones count.
_MOST: Final = 1000
_KEY = re.compile(r"\w[\w \-/]*")
_QUOTED = re.compile(r'"(?:\\.|[^\\"])*"')
_SIZE = re.compile(r"([0-9]{1,6})x([0-9]{1,6})")
# What ours have beside, for prompts that its readers would misread.
_EXACT: Final = {"Exact prompt": "Prompt", "Exact negative prompt": "Negative prompt"}


def parse(text: str) -> dict[str, str]:
    """The fields of a text: ``Prompt``, ``Negative prompt``, ``Steps`` and so on.

    Sizes are there as ``Size-1`` and ``Size-2``, as the web UI has them. An empty text has none.
    """
    lines = text.strip().split("\n")
    pairs = _pairs(lines[-1])
    if len(pairs) < _FEWEST:
        pairs = {}
    else:
        lines.pop()
    prompts: tuple[list[str], list[str]] = ([], [])
    negative = False
    for line in map(str.strip, lines):
        if line.startswith(NEGATIVE):
            negative = True
            line = line.removeprefix(NEGATIVE).strip()
        prompts[negative].append(line)
    if not pairs and not text.strip():
        return {}
    fields = {"Prompt": "\n".join(prompts[0]), "Negative prompt": "\n".join(prompts[1])}
    for key, value in pairs.items():
        size = _SIZE.fullmatch(value)
        if key in _EXACT:
            fields[_EXACT[key]] = value
        elif size is not None:
            fields |= {f"{key}-1": size[1], f"{key}-2": size[2]}
        else:
            fields[key] = value
    return fields


def _pairs(line: str) -> dict[str, str]:
    """The pairs of the last line; values with commas are JSON strings."""
    pairs: dict[str, str] = {}
    position = 0
    for _ in range(_MOST):
        colon = line.find(":", position)
        if colon < 0:
            break
        key = line[position:colon].strip()
        start = colon + 1 + (line[colon + 1 : colon + 2] == " ")
        quoted = _QUOTED.match(line, start)
        comma = line.find(",", start if quoted is None else quoted.end())
        end = len(line) if comma < 0 else comma
        if _KEY.fullmatch(key):
            pairs[key] = _unquoted(line[start:end].strip())
        elif "," in key:
            # Text before the first pair.
            position = line.rfind(",", position, colon) + 1
            continue
        position = end + 1
    return pairs


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        text = json.loads(value)
    except ValueError:
        return value
    return text if isinstance(text, str) else value
