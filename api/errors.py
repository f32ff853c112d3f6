"""The error table: the HTTP status of each code, and when a client should try again."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from contract.errors import ErrorCode, RequestError

STATUS: dict[ErrorCode, int] = {
    ErrorCode.INVALID_REQUEST: 400,
    ErrorCode.CONTENT_POLICY_VIOLATION: 400,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.REQUEST_TIMEOUT: 408,
    ErrorCode.CONFLICT: 409,
    ErrorCode.GONE: 410,
    ErrorCode.PAYLOAD_TOO_LARGE: 413,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorCode.OUT_OF_RANGE: 422,
    ErrorCode.BUSY: 429,
    # The client that could read it has gone: nginx's number, for the access log and the metrics.
    ErrorCode.CANCELLED: 499,
    ErrorCode.INTERNAL: 500,
    ErrorCode.NOT_READY: 503,
    ErrorCode.DEADLINE_EXCEEDED: 504,
    ErrorCode.STORAGE_FULL: 507,
}

# The code of each status; of two codes with one status, the first.
CODES: dict[int, ErrorCode] = {status: code for code, status in reversed(STATUS.items())}

DESCRIPTIONS: dict[int, str] = {
    400: "Malformed JSON or multipart, a missing or unknown field, a wrong type, a broken image, "
    "a picture that screening rejects",
    401: "No API key, or none of this service",
    403: "A page of another site, a foreign host name, or a key of another scope",
    404: "No such model, prediction or path",
    405: "No such method on this path",
    408: "The body came too slowly, or not at all",
    409: "The id or the idempotency key was used for something else, or the prediction is not over",
    410: "The link has expired, or the picture has been deleted",
    413: "The body or the picture is too large",
    415: "Neither the content type nor the image format is one of the supported ones",
    422: "A value outside its documented range",
    429: "The queue or the memory for bodies is full, or a quota is used up: try again after "
    "`Retry-After` seconds",
    500: "A fault of the service: quote the request id",
    503: "Loading, restarting or shutting down: try again after `Retry-After` seconds",
    504: "The request's deadline passed",
    507: "There is no room for another prediction, or for pictures to be kept: "
    "try again after `Retry-After` seconds",
}

_RETRY_AFTER = {ErrorCode.BUSY: 5.0, ErrorCode.NOT_READY: 10.0, ErrorCode.STORAGE_FULL: 60.0}
# A quota comes back within a day; the engine's estimates end at two minutes.
MAX_RETRY_AFTER: Final = 24 * 60 * 60
_SHOWN_CHARS = 80


def retry_after(error: RequestError) -> dict[str, str]:
    """The header that tells the client when to try again; none where that makes no difference."""
    if error.code not in _RETRY_AFTER:
        return {}
    seconds = math.ceil(error.retry_after or _RETRY_AFTER[error.code])
    return {"Retry-After": str(min(max(seconds, 1), MAX_RETRY_AFTER))}


def shown(value: Any) -> str:
    """A client's value as short printable ASCII, fit for a message and a log line."""
    text = json.dumps(value, default=str)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."


def out_of_range(field: str, limit: str, value: Any) -> RequestError:
    """The error of a field that must be within a limit, and has this value."""
    return RequestError(
        ErrorCode.OUT_OF_RANGE, f"{field} must be {limit}, got {shown(value)}", field=field
    )
