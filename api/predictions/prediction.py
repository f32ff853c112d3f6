"""A prediction as it is written down, and what is asked for with it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Self

from pydantic import TypeAdapter
from sqlalchemy import RowMapping

from contract.errors import ErrorCode
from contract.request import GenerationRequest


class Status(StrEnum):
    """The statuses, in the words of Replicate's API; one that is over never changes again."""

    STARTING = "starting"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_over(self) -> bool:
        return self not in UNFINISHED


UNFINISHED: Final = (Status.STARTING, Status.PROCESSING)
OVER: Final = (Status.SUCCEEDED, Status.FAILED, Status.CANCELED)


class WebhookEvent(StrEnum):
    """What a webhook can be told of."""

    START = "start"
    OUTPUT = "output"
    LOGS = "logs"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A finished picture, whose file is ``key``.

    Attributes:
        etag: SHA-256 of the file, in hexadecimal digits.
    """

    key: str
    index: int
    media_type: str
    bytes: int
    etag: str
    width: int
    height: int
    seed: int
    prompt: str
    warnings: tuple[str, ...] = ()
    screening: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a client may say about a prediction, beside its input.

    Attributes:
        id: of its own choice; None for a new one.
        idempotency_key: names the order, so that it can be sent again.
        priority: 0, or below it for what can wait.
        start_timeout: seconds within which it has to begin, or it fails.
        deadline: seconds within which it has to be over.
        webhook: a checked URL.
    """

    id: str | None = None
    idempotency_key: str | None = None
    priority: int = 0
    start_timeout: float | None = None
    deadline: float | None = None
    webhook: str | None = None
    webhook_events: tuple[WebhookEvent, ...] = tuple(WebhookEvent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A prediction to be accepted.

    Attributes:
        request: what is to be run; valid, with its seed resolved.
        input: the same as the client is to see it again.
        digest: SHA-256 of what the client has sent: the same order has the same one.
        tenant: whose it is.
        base_url: what the links in its webhooks begin with.
    """

    request: GenerationRequest
    input: dict[str, Any]
    digest: str
    tenant: str
    base_url: str
    options: Options = field(default_factory=Options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A row of the table, but for the request. Times are seconds since 1970."""

    number: int
    id: str
    tenant: str
    digest: str
    model: str
    served_as: str
    input: dict[str, Any]
    folder: str
    input_bytes: int
    status: Status
    priority: int
    created_at: float
    started_at: float | None
    completed_at: float | None
    start_by: float | None
    end_by: float | None
    attempts: int
    lease: str | None
    step: int
    total: int
    outputs: tuple[Output, ...]
    error_code: ErrorCode | None
    error: str | None
    webhook: str | None
    webhook_events: tuple[WebhookEvent, ...]
    base_url: str
    removed_at: float | None

    @classmethod
    def of(cls, row: RowMapping) -> Self:
        values = {name: row[name] for name in FIELDS}
        values["status"] = Status(values["status"])
        values["outputs"] = tuple(
            Output(
                **{**one, "warnings": tuple(one["warnings"]), "screening": tuple(one["screening"])}
            )
            for one in values["outputs"] or ()
        )
        if values["error_code"] is not None:
            values["error_code"] = ErrorCode(values["error_code"])
        values["webhook_events"] = tuple(map(WebhookEvent, values["webhook_events"] or ()))
        return cls(**values)


FIELDS: Final = tuple(Prediction.__dataclass_fields__)
_REQUEST: Final = TypeAdapter(GenerationRequest)


def request_text(request: GenerationRequest) -> str:
    """A request without its pictures, as JSON."""
    return _REQUEST.dump_json(request, exclude={"init_image", "mask"}).decode()


def request_of(written: str, pictures: bytes) -> GenerationRequest:
    """The request that was written, with its pictures: the input picture, then the mask."""
    request = _REQUEST.validate_json(written)
    if not pictures:
        return request
    pixels = request.width * request.height
    return replace(request, init_image=pictures[: 3 * pixels], mask=pictures[3 * pixels :] or None)


def pictures_of(request: GenerationRequest) -> bytes:
    """The pictures of a request in one piece; empty where there are none."""
    return (request.init_image or b"") + (request.mask or b"")
