"""Cursors: where a page of predictions ends, in a form that is nobody's business."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from contract.errors import ErrorCode, RequestError

_CURSOR: Final = re.compile(rb"before:([0-9]{1,18})")


def cursor_of(number: int) -> str:
    """The cursor of what comes after the prediction with this number."""
    return base64.urlsafe_b64encode(f"before:{number}".encode()).decode()


def after(cursor: str | None) -> int | None:
    """The number of the last prediction of the page before. Raises ``RequestError``."""
    if cursor is None:
        return None
    try:
        match = _CURSOR.fullmatch(base64.urlsafe_b64decode(cursor.encode()))
    except (binascii.Error, ValueError):
        match = None
    if match is None:
        raise RequestError(
            ErrorCode.INVALID_REQUEST, "cursor must be that of a next page", field="cursor"
        )
    return int(match[1])
