"""Content negotiation: the media type of a response (RFC 9110, section 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from python_multipart.multipart import parse_options_header

_WEIGHT = re.compile(rb"0(\.\d{0,3})?|1(\.0{0,3})?")


def best(accept: str, offers: Sequence[str]) -> str:
    """Choose the media type that ``accept`` gives the greatest weight.

    The earlier offer wins a tie, and the first one where ``accept`` is empty or rules all of them
    out: a response of another type is of more use than none.

    Args:
        accept: the Accept header.
        offers: media types, the preferred ones first.
    """
    weights = dict(_ranges(accept))

    def weight(offer: str) -> float:
        kind = offer.partition("/")[0]
        for media_range in (offer, f"{kind}/*", "*/*"):
            if media_range in weights:
                return weights[media_range]
        return 0.0

    return max(offers, key=weight)


def _ranges(accept: str) -> list[tuple[str, float]]:
    """The media ranges with their weights; one that is malformed counts as absent, so as 1."""
    ranges = []
    for part in accept.split(","):
        name, options = parse_options_header(part.strip())
        weight = options.get(b"q", b"1")
        value = float(weight) if _WEIGHT.fullmatch(weight) else 1.0
        ranges.append((name.decode("latin-1").lower(), value))
    return ranges
