"""Picture files in JSON, as the web UI's clients send them."""

from __future__ import annotations

from typing import Final

from api.protocols.kserve import base64_text
from contract.errors import ErrorCode, RequestError

_DATA: Final = "data:"


def decode(field: str, value: str) -> bytes:
    """The file in base64, perhaps with line breaks, or in a ``data:`` URL.

    Raises:
        RequestError: INVALID_REQUEST for anything else; the web UI's own URLs are not fetched.
    """
    text = value.strip()
    if text[:8].lower().startswith(("http://", "https://")):
        raise _invalid(field, "the picture itself in base64: URLs are not fetched")
    if text[: len(_DATA)].lower() == _DATA:
        head, _, text = text.partition(",")
        if not head.lower().endswith(";base64"):
            raise _invalid(field, "a data: URL in base64")
    if "\n" in text or " " in text:
        text = "".join(text.split())
    return base64_text.decode(field, text)


def _invalid(field: str, wanted: str) -> RequestError:
    return RequestError(ErrorCode.INVALID_REQUEST, f"{field} must be {wanted}", field=field)
