"""The pictures of predictions, as files: by a signed link, or for the client they belong to."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api import clients, negotiation
from api.predictions.prediction import Output
from api.predictions.predictions import Predictions
from api.predictions.refusals import not_found
from api.protocols.native.responses import BINARY
from api.protocols.predictions.acceptance import Acceptance
from api.protocols.predictions.bodies import ID, OutputQuery
from contract.errors import ErrorCode, RequestError

_CHUNK: Final = 256 * 1024
# One range, as clients send it that go on with a download; of several, the whole is sent.
_RANGE: Final = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})")


class OutputEndpoint:
    """The handler.

    Args:
        acceptance: has the predictions.
    """

    def __init__(self, acceptance: Acceptance) -> None:
        self._acceptance = acceptance

    async def get(self, request: Request) -> Response:
        """A picture, or the part of it that is asked for. Raises ``RequestError``."""
        identifier, place = request.path_params["id"], request.path_params["index"]
        query = OutputQuery.of(request.query_params.multi_items())
        predictions = await self._acceptance.opening.get()
        if not ID.fullmatch(identifier):
            raise not_found(identifier)
        if not re.fullmatch("[0-9]{1,4}", place):
            raise RequestError(ErrorCode.NOT_FOUND, "a picture has a number, from 0", field="index")
        index = int(place)
        tenant: str | None = clients.current()
        if query.expires is not None or query.signature is not None:
            predictions.links.check(identifier, index, query.expires or 0, query.signature or "")
            # Whoever has the link may have the picture.
            tenant = None
        prediction = await predictions.find(identifier, tenant)
        output = await predictions.picture(prediction, index)
        return await _response(request, predictions, output)


async def _response(request: Request, predictions: Predictions, output: Output) -> Response:
    etag = f'"{output.etag}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=86400, immutable",
        "Content-Disposition": f'inline; filename="{output.key.rpartition("-")[2]}"',
        "X-Seed": str(output.seed),
    }
    if etag in _tags(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    part = _part(request, etag, output.bytes)
    if part is None:
        return Response(
            status_code=416, headers={**headers, "Content-Range": f"bytes */{output.bytes}"}
        )
    start, end = part
    status = 200
    if (start, end) != (0, output.bytes):
        status = 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{output.bytes}"
    headers["Content-Length"] = str(end - start)
    # The first of it before the status is sent: it may be gone.
    first = await predictions.read(output, start, min(start + _CHUNK, end))
    return StreamingResponse(
        _chunks(predictions, output, first, start, end),
        status,
        headers,
        media_type=negotiation.best(
            ", ".join(request.headers.getlist("accept")), [output.media_type, BINARY]
        ),
    )


async def _chunks(
    predictions: Predictions, output: Output, first: bytes, start: int, end: int
) -> AsyncGenerator[bytes, None]:
    yield first
    for begin in range(start + _CHUNK, end, _CHUNK):
        yield await predictions.read(output, begin, min(begin + _CHUNK, end))


def _part(request: Request, etag: str, size: int) -> tuple[int, int] | None:
    """The bytes that are asked for, from the first up to the last; None where there are none."""
    match = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if match is None or request.headers.get("if-range", etag) != etag or match[0] == "bytes=-":
        return 0, size
    first, last = match[1], match[2]
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            # No range at all (RFC 9110, section 14.1.1).
            return 0, size
    return (start, end) if start < end else None


def _tags(header: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}
