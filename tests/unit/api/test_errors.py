from __future__ import annotations

import json

import pytest

from api import errors, request_id
from contract.errors import ErrorCode, RequestError


def test_every_code_has_a_status() -> None:
    assert set(errors.STATUS) == set(ErrorCode)


def test_body() -> None:
    token = request_id.current.set("abc")
    try:
        response = errors.response(RequestError(ErrorCode.OUT_OF_RANGE, "no", field="width"))
    finally:
        request_id.current.reset(token)

    assert response.status_code == 422
    assert json.loads(bytes(response.body)) == {
        "error": {"code": "out_of_range", "message": "no", "field": "width", "request_id": "abc"}
    }


def test_internal_errors_show_nothing_but_the_request_id() -> None:
    secret = RequestError(ErrorCode.INTERNAL, "/secret/path", field="secret")
    body = json.loads(bytes(errors.response(secret).body))

    assert set(body["error"]) == {"code", "message", "request_id"}
    assert "secret" not in json.dumps(body)


@pytest.mark.parametrize(
    ("code", "seconds", "header"),
    [
        (ErrorCode.BUSY, 2.1, "3"),
        (ErrorCode.BUSY, 0.01, "1"),
        (ErrorCode.BUSY, 1e6, "120"),
        (ErrorCode.BUSY, None, "5"),
        (ErrorCode.NOT_READY, 20, "20"),
        (ErrorCode.NOT_READY, None, "10"),
        (ErrorCode.OUT_OF_RANGE, None, None),
    ],
)
def test_retry_after(code: ErrorCode, seconds: float | None, header: str | None) -> None:
    response = errors.response(RequestError(code, "no", retry_after=seconds))

    assert response.headers.get("retry-after") == header


def test_shown_values_are_short_and_printable() -> None:
    assert errors.shown("a\nb\x00é") == '"a\\nb\\u0000\\u00e9"'
    assert len(errors.shown("x" * 1000)) == 80
