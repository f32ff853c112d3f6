"""OpenAI's error body, and the statuses that its clients know."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from api import errors
from contract.errors import ErrorCode, RequestError

_INVALID: Final = "invalid_request_error"
_SERVER: Final = "server_error"
_TYPES: Final[dict[ErrorCode, str]] = {
    ErrorCode.UNAUTHORIZED: "authentication_error",
    ErrorCode.FORBIDDEN: "permission_error",
    ErrorCode.BUSY: "rate_limit_error",
    ErrorCode.CONTENT_POLICY_VIOLATION: "image_generation_user_error",
    ErrorCode.INTERNAL: _SERVER,
    ErrorCode.NOT_READY: _SERVER,
    ErrorCode.DEADLINE_EXCEEDED: _SERVER,
    ErrorCode.STORAGE_FULL: _SERVER,
}
# Where OpenAI has a name for it; others have ours.
_CODES: Final[dict[ErrorCode, str]] = {
    ErrorCode.UNAUTHORIZED: "invalid_api_key",
    ErrorCode.BUSY: "rate_limit_exceeded",
}
# Its clients know a value out of range as any other mistake.
_STATUS: Final = {**errors.STATUS, ErrorCode.OUT_OF_RANGE: 400}


class OpenAIErrorDetail(BaseModel):
    """The reason why a request failed."""

    message: str = Field(description="One sentence; names the field, its limit and the value")
    type: str
    param: str | None = Field(description="The field at fault, if there is one")
    code: str | None


class OpenAIError(BaseModel):
    """The body of every response that is not a success."""

    error: OpenAIErrorDetail


def body(error: RequestError) -> OpenAIError:
    """The error body. An internal error shows nothing: its request id is in the headers."""
    internal = error.code is ErrorCode.INTERNAL
    code = _CODES.get(error.code, error.code.value)
    if error.code is ErrorCode.NOT_FOUND and error.field == "model":
        code = "model_not_found"
    detail = OpenAIErrorDetail(
        message="internal error" if internal else error.message,
        type=_TYPES.get(error.code, _INVALID),
        param=None if internal else error.field,
        code=code,
    )
    return OpenAIError(error=detail)


def response(error: RequestError) -> JSONResponse:
    """Render an error."""
    headers = errors.retry_after(error)
    if error.code is ErrorCode.DEADLINE_EXCEEDED:
        # The clients would try twice more, each time for as long.
        headers["X-Should-Retry"] = "false"
    return JSONResponse(body(error).model_dump(), _STATUS[error.code], headers)
