"""The error codes: every way in which a request can fail, in one enum that all layers share."""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """Every way a request can fail. The protocol adapters map each to their own status."""

    INVALID_REQUEST = "invalid_request"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONFLICT = "conflict"
    GONE = "gone"
    REQUEST_TIMEOUT = "request_timeout"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    OUT_OF_RANGE = "out_of_range"
    CONTENT_POLICY_VIOLATION = "content_policy_violation"
    BUSY = "busy"
    NOT_READY = "not_ready"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    STORAGE_FULL = "storage_full"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


class RequestError(Exception):
    """A request that cannot be served, in words fit for the client.

    Args:
        code: what kind of failure it is.
        message: one sentence for the client; never a path, a stack trace or another job's data.
        field: the request field at fault, if there is one.
        retry_after: seconds after which trying again makes sense (busy, not_ready).
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        field: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.retry_after = retry_after
