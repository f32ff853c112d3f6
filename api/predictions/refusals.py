"""The refusals: errors that several parts of predictions raise."""

from __future__ import annotations

from api.errors import shown
from api.predictions.prediction import Order, Prediction
from contract.errors import ErrorCode, RequestError


def not_found(identifier: str) -> RequestError:
    """A tenant has no such prediction."""
    message = f"there is no prediction {shown(identifier)}"
    return RequestError(ErrorCode.NOT_FOUND, message, field="id")


def no_delivery(identifier: str) -> RequestError:
    """A tenant has no such delivery of a webhook."""
    message = f"there is no delivery {shown(identifier)}"
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


def the_same(prediction: Prediction, order: Order) -> Prediction:
    """The prediction, if it is the one that is ordered again.

    Raises:
        RequestError: CONFLICT where it is another one, NOT_FOUND where it is another tenant's.
    """
    options = order.options
    if prediction.tenant != order.tenant:
        raise not_found(options.id or "")
    if prediction.digest != order.digest:
        name = "id" if prediction.id == options.id else "Idempotency-Key"
        raise RequestError(
            ErrorCode.CONFLICT, f"this {name} was used for another request", field=name
        )
    return prediction
