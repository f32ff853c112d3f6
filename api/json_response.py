"""The response whose body is JSON."""

from __future__ import annotations

from pydantic import BaseModel
from starlette.responses import Response


def reply(body: BaseModel) -> Response:
    """A response with a body, without what is null in it."""
    return Response(body.model_dump_json(exclude_none=True), media_type="application/json")
