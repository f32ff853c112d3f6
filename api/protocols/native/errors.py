"""The native error body."""

from __future__ import annotations

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from api import errors, request_id
from contract.errors import ErrorCode, RequestError


class ErrorDetail(BaseModel):
    """The reason why a request failed."""

    code: ErrorCode
    message: str = Field(description="One sentence; names the field, its limit and the value")
    field: str | None = Field(None, description="The field at fault, if there is one")
    request_id: str = Field(description="The name of this request in the service's logs")


class ErrorBody(BaseModel):
    """The body of every response that is not a success."""

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
    return JSONResponse(body(error), errors.STATUS[error.code], errors.retry_after(error))
