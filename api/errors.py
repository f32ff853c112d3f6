"""The error table: what each code is in HTTP, and the native error body."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails
from starlette.responses import JSONResponse

from api import request_id
from contract.errors import ErrorCode, RequestError

STATUS: dict[ErrorCode, int] = {
    ErrorCode.INVALID_REQUEST: 400,
    ErrorCode.CONTENT_POLICY_VIOLATION: 400,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.PAYLOAD_TOO_LARGE: 413,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorCode.OUT_OF_RANGE: 422,
    ErrorCode.BUSY: 429,
    # The client that could read it has gone: nginx's number, for the access log and the metrics.
    ErrorCode.CANCELLED: 499,
    ErrorCode.INTERNAL: 500,
    ErrorCode.NOT_READY: 503,
    ErrorCode.DEADLINE_EXCEEDED: 504,
}

DESCRIPTIONS: dict[int, str] = {
    400: "Malformed JSON or multipart, a missing or unknown field, a wrong type, a broken image, "
    "a picture that screening rejects",
    404: "No such model or path",
    405: "No such method on this path",
    413: "The body or the picture is too large",
    415: "Neither the content type nor the image format is one of the supported ones",
    422: "A value outside its documented range",
    429: "The queue is full: try again after `Retry-After` seconds",
    500: "A fault of the service: quote the request id",
    503: "Loading, restarting or shutting down: try again after `Retry-After` seconds",
    504: "The request's deadline passed",
}

_RETRY_AFTER = {ErrorCode.BUSY: 5.0, ErrorCode.NOT_READY: 10.0}
_MAX_RETRY_AFTER = 120
_SHOWN_CHARS = 80

# What pydantic calls a mistake, and what we call it.
_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "an array",
    "int_parsing": "an integer",
}


class ErrorDetail(BaseModel):
    """What went wrong with a request."""

    code: ErrorCode
    message: str = Field(description="One sentence; names the field, its limit and the value")
    field: str | None = Field(None, description="The field at fault, if there is one")
    request_id: str = Field(description="The name of this request in the service's logs")


class ErrorBody(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorDetail


def body(error: RequestError) -> dict[str, dict[str, str]]:
    """The native error body. An internal error shows its request id and nothing else."""
    detail: dict[str, str] = {"code": error.code.value, "message": error.message}
    if error.code is ErrorCode.INTERNAL:
        detail["message"] = "internal error"
    elif error.field is not None:
        detail["field"] = error.field
    detail["request_id"] = request_id.current.get()
    return {"error": detail}


def response(error: RequestError) -> JSONResponse:
    """Render an error natively."""
    headers = {}
    if error.code in _RETRY_AFTER:
        seconds = math.ceil(error.retry_after or _RETRY_AFTER[error.code])
        headers["Retry-After"] = str(min(max(seconds, 1), _MAX_RETRY_AFTER))
    return JSONResponse(body(error), STATUS[error.code], headers)


def shown(value: Any) -> str:
    """A client's value as short printable ASCII, fit for a message and a log line."""
    text = json.dumps(value, default=str)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."


def from_validation(error: ValidationError, known: Mapping[str, Iterable[str]]) -> RequestError:
    """Put the first mistake that pydantic found into our words.

    Args:
        known: the names of the body's fields, under "", and those of the objects in a list, under
            the list's name.
    """
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or None
    code = ErrorCode.OUT_OF_RANGE if first["type"] == "finite_number" else ErrorCode.INVALID_REQUEST
    known_fields = known[str(first["loc"][0]) if len(first["loc"]) > 1 else ""]
    return RequestError(code, _sentence(first, field, known_fields), field=field)


def _sentence(mistake: ErrorDetails, field: str | None, known_fields: Iterable[str]) -> str:
    kind = mistake["type"]
    if kind == "json_invalid":
        return f"the body is not valid JSON: {mistake['ctx']['error']}"
    if kind == "model_type":
        return f"{field or 'the body'} must be a JSON object"
    if kind == "missing":
        return f"{field} is required"
    if kind == "extra_forbidden":
        return f"{shown(field)} is not a field; the fields are {', '.join(known_fields)}"
    if kind == "finite_number":
        return f"{field} must be a finite number"
    if kind in _EXPECTED:
        return f"{field} must be {_EXPECTED[kind]}, not {shown(mistake['input'])}"
    return f"{field}: {mistake['msg']}"
