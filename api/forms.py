"""Forms: multipart bodies, byte for byte.

Starlette's own form parser decodes text parts leniently (bytes that are not UTF-8 become other
characters) and does not notice a body that ends early.
"""

from __future__ import annotations

from collections.abc import Collection

from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, parse_options_header

from contract.errors import ErrorCode, RequestError

MEDIA_TYPE = "multipart/form-data"


def read(body: bytes, content_type: str, names: Collection[str]) -> dict[str, bytes]:
    """Split a multipart/form-data body into its parts. Blocking for large bodies.

    Args:
        body: the whole body.
        content_type: the Content-Type header, with the boundary.
        names: the parts that there must be, each once, and no others.

    Raises:
        RequestError: INVALID_REQUEST for a malformed body, and for a missing, an unknown or a
            repeated part.
    """
    _, options = parse_options_header(content_type)
    parts: list[tuple[str, bytes]] = []
    ended = False

    def on_field(field: Field) -> None:
        parts.append(((field.field_name or b"").decode("latin-1"), field.value or b""))

    def on_file(file: File) -> None:
        file.file_object.seek(0)
        parts.append(((file.field_name or b"").decode("latin-1"), file.file_object.read()))

    def on_end() -> None:
        nonlocal ended
        ended = True

    try:
        parser = FormParser(
            MEDIA_TYPE,
            on_field,
            on_file,
            on_end,
            boundary=options.get(b"boundary"),
            config={"MAX_MEMORY_FILE_SIZE": len(body) + 1},
        )
        parser.write(body)
    except FormParserError as error:
        raise _invalid(f"the body is not valid multipart/form-data: {error}") from None
    if not ended:
        raise _invalid("the body is not valid multipart/form-data: it ends early")

    found: dict[str, bytes] = {}
    for name, value in parts:
        if name not in names:
            raise _invalid(f"{name!a} is not a part; the parts are {', '.join(names)}", name)
        if name in found:
            raise _invalid(f"the part {name} may be there once only", name)
        found[name] = value
    for name in names:
        if name not in found:
            raise _invalid(f"the part {name} is required", name)
    return found


def _invalid(message: str, field: str | None = None) -> RequestError:
    return RequestError(ErrorCode.INVALID_REQUEST, message, field=field)
