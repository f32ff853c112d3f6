"""The native error body."""

from __future__ import annotations

import json

from api import request_id
from api.protocols.native import errors
from contract.errors import ErrorCode, RequestError


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
