"""Tolerance: fields of OpenAI's that mean nothing here, and values that cannot be served."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from api.errors import shown
from api.limits import OneOf, Range
from api.protocols.openai.bodies import ImagesBody, StreamedBody
from contract.errors import ErrorCode, RequestError

LINKS: Final = "url"
_FILES: Final = "b64_json"
_CONSTRAINTS: Final[Mapping[str, OneOf | Range]] = {
    "quality": OneOf(("auto", "standard", "hd", "low", "medium", "high", "xhigh", "max")),
    "style": OneOf(("vivid", "natural")),
    "moderation": OneOf(("auto", "low")),
    "input_fidelity": OneOf(("low", "high")),
    "background": OneOf(("auto", "opaque"), "as pictures have no transparency"),
    "partial_images": Range(0, 3),
}
# What decides instead.
_IGNORED: Final[Mapping[str, str]] = {
    "quality": "num_inference_steps says how much work a picture is",
    "style": "the prompt says it",
    "moderation": "the service says how it screens pictures",
    "input_fidelity": "strength says how far a picture may go",
    "user": "a client is known by its key or its address",
}
# These ask for what happens anyway.
_HARMLESS: Final = frozenset({("quality", "auto"), ("quality", "standard"), ("moderation", "auto")})


def constraints(with_links: bool) -> Mapping[str, OneOf | Range]:
    """What OpenAI's fields may be; ``with_links`` says whether there may be links to pictures."""
    formats = OneOf((_FILES,), "as no pictures are kept here that links could lead to")
    if with_links:
        formats = OneOf((_FILES, LINKS))
    return {**_CONSTRAINTS, "response_format": formats}


def check(body: ImagesBody, with_links: bool) -> None:
    """Raise ``RequestError`` for a value that cannot be served, or is none of its field's.

    Args:
        with_links: see ``constraints``.
    """
    body.check_names()
    for field, constraint in constraints(with_links).items():
        value = getattr(body, field, None)
        if value is not None:
            constraint.check(field, value)
    if isinstance(body, StreamedBody) and body.partial_images and not body.stream:
        raise RequestError(
            ErrorCode.INVALID_REQUEST,
            f"partial_images come in a stream only: set stream, or leave partial_images out; "
            f"got {body.partial_images}",
            field="partial_images",
        )
    if isinstance(body, StreamedBody) and body.stream and body.response_format == LINKS:
        raise RequestError(
            ErrorCode.INVALID_REQUEST,
            f"response_format must be {_FILES} or absent in a stream, got {LINKS}",
            field="response_format",
        )


def warnings(body: ImagesBody, query: Iterable[str]) -> tuple[str, ...]:
    """A sentence about each field that makes no difference, and about each parameter in the URL.

    Args:
        query: the names of those parameters: some clients send a version of the API.
    """
    given = {field: getattr(body, field, None) for field in _IGNORED}
    return (
        *(
            f"{field} is ignored: {_IGNORED[field]}"
            for field, value in given.items()
            if value is not None and (field, value) not in _HARMLESS
        ),
        *(f"{shown(name)} in the URL is ignored" for name in dict.fromkeys(query)),
    )
