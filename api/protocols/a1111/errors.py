"""The error body: the four keys that this API's clients know, and two of ours."""

from __future__ import annotations

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from api import errors, request_id
from contract.errors import ErrorCode, RequestError


class WebUIError(BaseModel):
    """The body of every response that is not a success."""

    error: ErrorCode
    detail: str = Field(description="One sentence; names the field, its limit and the value")
    body: str = Field("", description="Always empty")
    errors: str = Field(description="The same sentence")
    field: str | None = Field(None, description="The field at fault, if there is one")
    request_id: str = Field(description="The name of this request in the service's logs")


def response(error: RequestError) -> JSONResponse:
    """Render an error. An internal one shows its request id and nothing else."""
    internal = error.code is ErrorCode.INTERNAL
    sentence = "internal error" if internal else error.message
    body = WebUIError(
        error=error.code,
        detail=sentence,
        errors=sentence,
        field=None if internal else error.field,
        request_id=request_id.current.get(),
    )
    return JSONResponse(
        body.model_dump(mode="json", exclude_none=True),
        errors.STATUS[error.code],
        errors.retry_after(error),
    )
