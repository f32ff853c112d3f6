"""Bodies as the web UI's clients send them: JSON, with picture files in base64."""

from __future__ import annotations

from starlette.requests import Request

from api import base64_text
from api.protocols.native.responses import JSON
from api.uploads import media_type, unsupported
from contract.errors import ErrorCode, RequestError


def check_json(request: Request) -> None:
    """Raise ``RequestError`` for a body of another type than JSON.

    None is not JSON either: a browser asks first only where a page sends this very type.
    """
    given = media_type(request)
    if given != JSON:
        raise unsupported(JSON, given)


def picture(field: str, value: str) -> bytes:
    """The file in base64, perhaps with line breaks, or in a ``data:`` URL.

    Raises:
        RequestError: INVALID_REQUEST for anything else; the web UI's own URLs are not fetched.
    """
    text = value.strip()
    if text[:8].lower().startswith(("http://", "https://")):
        raise _invalid(field, "the picture itself in base64: URLs are not fetched")
    if base64_text.is_data_url(text):
        within = base64_text.of_data_url(text)
        if within is None:
            raise _invalid(field, "a data: URL in base64")
        text = within
    if "\n" in text or " " in text:
        text = "".join(text.split())
    return base64_text.decode(field, text)


def _invalid(field: str, wanted: str) -> RequestError:
    return RequestError(ErrorCode.INVALID_REQUEST, f"{field} must be {wanted}", field=field)
