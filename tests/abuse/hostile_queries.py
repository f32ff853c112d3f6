"""Queries of ``/imagine``, which makes a picture from its query alone, and what is right for them.

``QUERIES`` maps a name to what follows the question mark in a request's first line, and to the
statuses that may answer it. Few of them make a picture, which takes its time.
"""

from __future__ import annotations

from typing import Final

from tests.abuse.raw_http import Connection
from tests.abuse.raw_requests import CLOSED, message

OK: Final = frozenset({200})
# An undecodable, unknown or missing parameter, and a number outside of its range.
BAD: Final = frozenset({400})
OUT: Final = frozenset({422})
LONG: Final = frozenset({400, 414, 422, 431, CLOSED})

QUERIES: Final[dict[str, tuple[bytes, frozenset[int]]]] = {
    # What is right, so that the rest means something.
    "right": (b"prompt=x&img_size=64", OK),
    "other-scripts": ("prompt=été+\u4e2d&img_size=65".encode(), BAD | OUT),
    "escaped-scripts": (b"prompt=%C3%A9t%C3%A9+%E4%B8%AD&img_size=64", OK),
    # The prompt.
    "nothing": (b"", BAD),
    "no-prompt": (b"img_size=64", BAD),
    "prompt-without-value": (b"prompt&img_size=65", BAD | OUT),
    "prompt-twice": (b"prompt=x&prompt=y", BAD),
    "prompt-no-utf8": (b"prompt=%ff%fe&img_size=64", OK | BAD),
    "prompt-half-escape": (b"prompt=%e4%b8&img_size=65", BAD | OUT),
    "prompt-bad-escape": (b"prompt=%zz%&img_size=65", BAD | OUT),
    "prompt-nul": (b"prompt=%00&img_size=64", OK | BAD | OUT),
    "prompt-surrogate": (b"prompt=%ed%a0%80&img_size=64", OK | BAD | OUT),
    "prompt-lines": (b"prompt=x%0d%0aX-Evil:+1&img_size=64", OK | BAD | OUT),
    "prompt-long": (b"prompt=" + b"x" * 3_000, OUT),
    "prompt-60000": (b"prompt=" + b"x" * 60_000, LONG),
    "prompt-template": (b"prompt={a|b}&img_size=65", BAD | OUT),
    # The size.
    "size-empty": (b"prompt=x&img_size=", BAD),
    "size-word": (b"prompt=x&img_size=big", BAD),
    "size-fraction": (b"prompt=x&img_size=64.5", BAD),
    "size-exponent": (b"prompt=x&img_size=1e9", BAD),
    "size-nan": (b"prompt=x&img_size=nan", BAD),
    "size-hex": (b"prompt=x&img_size=0x40", BAD),
    "size-other-digits": (b"prompt=x&img_size=%D9%A6%D9%A5", BAD | OUT),
    "size-5000-digits": (b"prompt=x&img_size=" + b"9" * 5_000, BAD | LONG),
    "size-zero": (b"prompt=x&img_size=0", OUT),
    "size-negative": (b"prompt=x&img_size=-64", OUT),
    "size-2^64": (b"prompt=x&img_size=18446744073709551616", BAD | OUT),
    "size-huge": (b"prompt=x&img_size=100000000", OUT),
    "size-odd": (b"prompt=x&img_size=65", OUT),
    "size-twice": (b"prompt=x&img_size=64&img_size=72", BAD),
    # What there is no parameter for.
    "steps": (b"prompt=x&num_inference_steps=100000", BAD),
    "model": (b"prompt=x&model=../../etc/passwd", BAD),
    "array": (b"prompt[]=x", BAD),
    "5000-parameters": (b"prompt=x" + b"&a=1" * 5_000, LONG),
    "semicolons": (b"prompt=x;a&img_size=65", BAD | OUT),
}

_FOREIGN: Final = (b"Sec-Fetch-Site: cross-site", b"Sec-Fetch-Mode: no-cors")


def wrong_replies(port: int) -> dict[str, tuple[int, bytes]]:
    """Send them all to a service; returns the status and the body of replies that are not right,
    those among them that let a page of another site make a picture."""
    right = b"prompt=x&img_size=64"
    wrong = {}
    for name, (query, expected, headers, body) in {
        **{name: (*case, (), b"") for name, case in QUERIES.items()},
        "from-another-site": (right, frozenset({403}), _FOREIGN, b""),
        "with-a-body": (right, BAD, (b"Content-Length: 2",), b"{}"),
    }.items():
        with Connection(port) as connection:
            line = b"GET /imagine?" + query + b" HTTP/1.1"
            connection.send(message(line, *headers, body=body))
            replies = connection.replies()
        status, text = (replies[0].status, replies[0].body) if replies else (CLOSED, b"")
        # A server may refuse before there is an application.
        said = status in (200, 414, 431, CLOSED) or b'"code"' in text or b"Invalid HTTP" in text
        if status not in expected or len(replies) > 1 or not said or b"Traceback" in text:
            wrong[name] = status, text[:300]
    return wrong
