from __future__ import annotations

import pytest

from api import errors
from contract.errors import ErrorCode, RequestError


def test_every_code_has_a_status() -> None:
    assert set(errors.STATUS) == set(ErrorCode)


@pytest.mark.parametrize(
    ("code", "seconds", "header"),
    [
        (ErrorCode.BUSY, 2.1, "3"),
        (ErrorCode.BUSY, 0.01, "1"),
        (ErrorCode.BUSY, 1e6, "86400"),
        (ErrorCode.BUSY, None, "5"),
        (ErrorCode.NOT_READY, 20, "20"),
        (ErrorCode.NOT_READY, None, "10"),
        (ErrorCode.OUT_OF_RANGE, None, None),
    ],
)
def test_retry_after(code: ErrorCode, seconds: float | None, header: str | None) -> None:
    headers = errors.retry_after(RequestError(code, "no", retry_after=seconds))

    assert headers.get("Retry-After") == header


def test_shown_values_are_short_and_printable() -> None:
    assert errors.shown("a\nb\x00é") == '"a\\nb\\u0000\\u00e9"'
    assert len(errors.shown("x" * 1000)) == 80
