"""Forms: multipart bodies, byte for byte, without a copy of their parts.

Starlette's own form parser decodes text parts leniently (bytes that are not UTF-8 become other
characters) and does not notice a body that ends early.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from contract.errors import ErrorCode, RequestError

MEDIA_TYPE = "multipart/form-data"

# The parser steps through each; a body of nothing else would take it seconds.
MAX_PARTS: Final = 32
_PLAIN = frozenset({b"", b"binary", b"8bit", b"7bit"})


def read(body: bytearray, content_type: str, longest: Mapping[str, int]) -> dict[str, memoryview]:
    """Split a multipart/form-data body into known parts.

    Args:
        body: the whole body.
        content_type: the Content-Type header, with the boundary.
        longest: the parts that there must be, each once, and no others, with the bytes that each
            may have.

    Returns:
        Views into ``body``.

    Raises:
        RequestError: what ``split`` raises; INVALID_REQUEST for a missing, an unknown or a repeated
            part.
    """
    found: set[str] = set()

    def bound(name: str) -> int:
        if name not in longest:
            known = ", ".join(longest)
            raise _invalid(f"{name!a} is not a part; the parts are {known}", name)
        if name in found:
            raise _invalid(f"the part {name} may be there once only", name)
        found.add(name)
        return longest[name]

    parts = dict(split(body, content_type, bound))
    for name in longest:
        if name not in parts:
            raise _invalid(f"the part {name} is required", name)
    return parts


def split(
    body: bytearray, content_type: str, longest: Callable[[str], int], most: int = MAX_PARTS
) -> list[tuple[str, memoryview]]:
    """Split a multipart/form-data body into its parts, in their order.

    Args:
        body: the whole body.
        content_type: the Content-Type header, with the boundary.
        longest: bytes that the part of a name may have; raises for one that may not be there.
        most: parts that there may be.

    Returns:
        The name of each part, and a view into ``body``.

    Raises:
        RequestError: INVALID_REQUEST for a malformed body and for more parts, PAYLOAD_TOO_LARGE for
            one that is too long; what ``longest`` raises.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise _invalid("Content-Type must have a boundary")
    if body.count(b"\r\n--" + boundary) > most:
        raise _invalid(f"the body must have at most {most} parts, got more")
    form = _Form(longest)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": form.on_part_begin,
                "on_header_field": form.on_header_field,
                "on_header_value": form.on_header_value,
                "on_header_end": form.on_header_end,
                "on_headers_finished": form.on_headers_finished,
                "on_part_data": form.on_part_data,
                "on_end": form.on_end,
            },
        )
        parser.write(body)  # type: ignore[arg-type]  # which has all that it uses of bytes
    except FormParserError as error:
        raise _invalid(f"the body is not valid multipart/form-data: {error}") from None
    if not form.ended:
        raise _invalid("the body is not valid multipart/form-data: it ends early")
    whole = memoryview(body)
    return [(name, whole[start:end]) for name, start, end in form.parts]


class _Form:
    """Where the parts are, as the parser finds them; it is given the whole body at once."""

    def __init__(self, longest: Callable[[str], int]) -> None:
        self._longest = longest
        self._headers: dict[bytes, bytes] = {}
        self._field = self._value = b""
        self._name = ""
        self._most = 0
        self.parts: list[tuple[str, int, int]] = []
        self.ended = False

    def on_part_begin(self) -> None:
        self._headers = {}

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self._headers[bytes(self._field).lower()] = bytes(self._value)
        self._field = self._value = b""

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        if b"name" not in options:
            raise _invalid("the body is not valid multipart/form-data: a part has no name")
        self._name = name = options[b"name"].decode("latin-1")
        self._most = self._longest(name)
        encoding = self._headers.get(b"content-transfer-encoding", b"").strip().lower()
        if encoding not in _PLAIN:
            raise _invalid(f"the part {name} must have no Content-Transfer-Encoding", name)
        self.parts.append((name, 0, 0))

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        # Once for each part, as there is one write only.
        size, most = end - start, self._most
        if size > most:
            raise RequestError(
                ErrorCode.PAYLOAD_TOO_LARGE,
                f"the part {self._name} must be at most {most} bytes long, got {size}",
                field=self._name,
            )
        self.parts[-1] = (self._name, start, end)

    def on_end(self) -> None:
        self.ended = True


def _invalid(message: str, field: str | None = None) -> RequestError:
    return RequestError(ErrorCode.INVALID_REQUEST, message, field=field)
