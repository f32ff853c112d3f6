"""Prompt templates: ``a {red|green} apple``, ``{2$$ and $$a|b|c}``, ``__colour__``.

The language is that of dynamicprompts (https://github.com/adieyal/dynamicprompts), whose parser
reads them, without its variables (``${...}``), wraps (``%{...}``), comments and ways of choosing
other than at random: ``#``, ``%``, ``$`` and ``//`` are text here.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from functools import lru_cache

from dynamicprompts.commands import (
    Command,
    LiteralCommand,
    SamplingMethod,
    SequenceCommand,
    VariantCommand,
    WildcardCommand,
)
from dynamicprompts.parser.parse import parse as parse_template

from contract.errors import ErrorCode, RequestError

MAX_DEPTH = 10  # braces within braces
MAX_PARTS = 200  # of {, | and __

_MARK = re.compile(r"[{|]|__")
_UNSUPPORTED = re.compile(r"[$%]\{")
# What the parser would take for a comment or a variable, or change (it expands tabs), and what
# stands for it meanwhile: characters that Unicode keeps for such uses.
_STAND_INS = {"#": "\ufdd0", "%": "\ufdd1", "$": "\ufdd2", "/": "\ufdd3", "\t": "\ufdd4"}
_TEXT = re.compile(r"[#%\t]|(?<!\$)\$(?!\$)|/(?=[/*])|(?<=/)/")
_ORIGINALS = str.maketrans({stand_in: char for char, stand_in in _STAND_INS.items()})
# pyparsing completes its grammar at the first use, and does not say that threads may share it.
_parser = threading.Lock()


@lru_cache(maxsize=256)
def parse(template: str) -> Command:
    """Read a template; to text that comes out of it ``restore`` is to be applied.

    Raises:
        RequestError: ``invalid_request`` for what is no template, ``out_of_range`` for one that
            is too large.
    """
    if _MARK.search(template) is None:
        return LiteralCommand(template)
    if found := _UNSUPPORTED.search(template):
        raise _invalid(f"{found[0]}...}} is not supported")
    _check_size(template)
    try:
        with _parser:
            command = parse_template(_TEXT.sub(lambda found: _STAND_INS[found[0]], template))
    except Exception:
        # Whatever the parser stumbles over was in the template.
        raise _invalid(
            f"it cannot be read: check its {{ }} | $$ and __, got {template[:80]!a}"
        ) from None
    for part in walk(command):
        if part.sampling_method not in (None, SamplingMethod.RANDOM):
            raise _invalid("! and @ at the beginning of a choice are not supported")
        if isinstance(part, WildcardCommand) and part.variables:
            raise _invalid("a wildcard takes no (...)")
    return command


def restore(text: str) -> str:
    """The text of a parsed template as it was written."""
    return text.translate(_ORIGINALS)


def walk(command: Command) -> Iterator[Command]:
    """A command and all that is within it."""
    yield command
    match command:
        case SequenceCommand():
            within = command.tokens
        case VariantCommand():
            within = command.values
        case WildcardCommand() if isinstance(command.wildcard, Command):
            within = [command.wildcard]
        case _:
            within = []
    for part in within:
        yield from walk(part)


def _check_size(template: str) -> None:
    parts = len(_MARK.findall(template))
    if parts > MAX_PARTS:
        raise _too_large(f"at most {MAX_PARTS} of {{, | and __ together, got {parts}")
    depth = deepest = 0
    for brace in re.findall("[{}]", template):
        depth = depth + 1 if brace == "{" else max(depth - 1, 0)
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        raise _too_large(f"at most {MAX_DEPTH} {{ within each other, got {deepest}")


def _invalid(what: str) -> RequestError:
    return RequestError(
        ErrorCode.INVALID_REQUEST, f"prompt is no valid template: {what}", field="prompt"
    )


def _too_large(limit: str) -> RequestError:
    return RequestError(
        ErrorCode.OUT_OF_RANGE, f"prompt as a template may have {limit}", field="prompt"
    )
