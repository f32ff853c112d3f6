"""The refusals: errors that several parts of predictions raise."""

from __future__ import annotations

from api.errors import shown
from contract.errors import ErrorCode, RequestError


def not_found(identifier: str) -> RequestError:
    """A tenant has no such prediction."""
    message = f"there is no prediction {shown(identifier)}"
    return RequestError(ErrorCode.NOT_FOUND, message, field="id")


def gone() -> RequestError:
    """A picture is no longer there."""
    return RequestError(ErrorCode.GONE, "the picture has been deleted, as its time was over")


def storage_full(message: str) -> RequestError:
    """There is no room for another prediction."""
    return RequestError(ErrorCode.STORAGE_FULL, message)


def unreachable() -> RequestError:
    """The files cannot be read or written just now."""
    return RequestError(
        ErrorCode.NOT_READY, "the store of pictures cannot be reached", retry_after=5.0
    )
