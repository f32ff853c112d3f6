"""The error body: problem details (RFC 9457), which is what Replicate's clients read."""

from __future__ import annotations

from http import HTTPStatus

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from api import errors, request_id
from contract.errors import ErrorCode, RequestError

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """The body of every response that is not a success."""

    title: str = Field(description="The kind of problem, in words")
    status: int = Field(description="The response's status")
    detail: str = Field(description="One sentence; names the field, its limit and the value")
    code: ErrorCode
    field: str | None = Field(None, description="The field at fault, if there is one")
    request_id: str = Field(description="The name of this request in the service's logs")


def response(error: RequestError) -> Response:
    """Render an error. An internal one shows its request id and nothing else."""
    status = errors.STATUS[error.code]
    internal = error.code is ErrorCode.INTERNAL
    body = Problem(
        title=_title(status),
        status=status,
        detail="internal error" if internal else error.message,
        code=error.code,
        field=None if internal else error.field,
        request_id=request_id.current.get(),
    )
    return JSONResponse(
        body.model_dump(mode="json", exclude_none=True),
        status,
        errors.retry_after(error),
        media_type=MEDIA_TYPE,
    )


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        # nginx's 499.
        return "Client Closed Request"
