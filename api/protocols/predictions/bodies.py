"""Request bodies and URL parameters of predictions."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from api.bodies import Body, Query
from api.errors import shown
from api.predictions.outbox import DeliveryState
from api.predictions.prediction import Status, WebhookEvent
from api.protocols.native.schemas import Img2ImgBody, InpaintBody, Txt2ImgBody
from contract.errors import ErrorCode, RequestError

ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
MAX_LIMIT: Final = 100
_MAX_SECONDS: Final = 7 * 24 * 3600
_PICTURES: Final = ("image", "mask")

Seconds = Annotated[float, Field(gt=0, le=_MAX_SECONDS)]
# PostgreSQL has no texts with NUL.
Sought = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00]*$")]


class PredictionBody(Body):
    """What to predict. Absent and null both mean the default."""

    example: ClassVar[dict[str, Any]] = {
        "input": {"prompt": "a red apple on a blue background", "seed": 42}
    }

    input: dict[str, Any] = Field(
        description="The fields of `POST /txt2img` but for `model`; with `image`, those of "
        "`POST /img2img`, and with `image` and `mask`, those of `POST /inpaint`: both are files "
        "in base64, or `data:` URLs",
        examples=[{"prompt": "a red apple on a blue background"}],
    )
    model: str | None = Field(
        None,
        description="One of those that `GET /models` lists; an owner and a slash in front of it "
        "are not looked at",
    )
    version: str | None = Field(
        None, description="The same: a model has one version, which is called as it is"
    )
    id: str | None = Field(
        None,
        description="An id of your own: letters, digits, - and _, at most 128",
        examples=["order-4711"],
    )
    webhook: str | None = Field(
        None,
        description="An https URL that is told what happens",
        examples=["https://example.com/told"],
    )
    webhook_events_filter: Annotated[list[WebhookEvent], Field(max_length=8)] | None = Field(
        None, description="What it is told of; default: everything", examples=[["completed"]]
    )
    stream: bool | None = Field(
        None, description="Of Replicate's clients; only false: events are at `urls.events`"
    )
    priority: Literal["normal", "low"] | None = Field(
        None, description="low: after all others that wait", examples=["low"]
    )
    start_timeout: Seconds | None = Field(
        None, description="Seconds within which it must begin, or it fails", examples=[60]
    )
    deadline: Seconds | None = Field(
        None, description="Seconds within which it must be over, or it fails", examples=[600]
    )

    def check(self) -> None:
        """Raise ``RequestError`` for what no type says."""
        if self.id is not None:
            check_id(self.id)
        if self.webhook_events_filter and self.webhook is None:
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                "webhook is required where webhook_events_filter is",
                field="webhook",
            )
        if self.stream:
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                "stream must be false: the events are at urls.events",
                field="stream",
            )

    def model_name(self, path: str | None = None) -> str | None:
        """The model that is asked for, in the body or in the path; None for the default.

        Raises:
            RequestError: two different ones are named.
        """
        given = {"model": self.model, "version": self.version, "the path": path}
        names = {where: _plain(name) for where, name in given.items() if name is not None}
        if len(set(names.values())) > 1:
            message = f"{' and '.join(names)} name different models"
            raise RequestError(ErrorCode.INVALID_REQUEST, message, field=next(iter(names)))
        return next(iter(names.values()), None)

    def generation(self) -> tuple[Txt2ImgBody, dict[str, str]]:
        """The input as the body of the native protocol that it would be, and its pictures.

        Raises:
            RequestError: INVALID_REQUEST.
        """
        given = self.input
        pictures = {name: given[name] for name in _PICTURES if given.get(name) is not None}
        for name, value in pictures.items():
            if not isinstance(value, str):
                message = f"{name} must be a string: a file in base64, or a data: URL"
                raise RequestError(ErrorCode.INVALID_REQUEST, message, field=name)
        if "mask" in pictures and "image" not in pictures:
            raise RequestError(
                ErrorCode.INVALID_REQUEST, "image is required where mask is", field="image"
            )
        if given.get("model") is not None:
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                "the model is named beside the input, not in it",
                field="model",
            )
        values = {name: given[name] for name in given if name not in _PICTURES}
        return _body(pictures).parse(json.dumps(values).encode()), pictures


class ListQuery(Query):
    """Which predictions to list."""

    status: Status | None = Field(None, description="Only those", examples=["succeeded"])
    model: Sought | None = Field(None, description="Only those with this model")
    search: Sought | None = Field(
        None,
        description="Only those with this in `prompt` or `negative_prompt`; capitals do not matter "
        "(in SQLite: those of ASCII)",
        examples=["apple"],
    )
    id_prefix: Annotated[str, Field(pattern=f"^{ID.pattern}$")] | None = Field(
        None, description="Only those whose id begins with it", examples=["order-"]
    )
    created_after: datetime | None = Field(
        None, description="Only later ones", examples=["2026-01-31T12:00:00Z"]
    )
    created_before: datetime | None = Field(
        None, description="Only earlier ones", examples=["2026-01-31T12:00:00Z"]
    )
    cursor: str | None = Field(None, description="That of the `next` page")
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] | None = Field(
        None, description="Predictions in a page", examples=[20]
    )


class OutputQuery(Query):
    """The signature of a link."""

    expires: Annotated[int, Field(ge=0, le=2**53)] | None = Field(
        None, description="Seconds since 1970", examples=[1_800_000_000]
    )
    signature: str | None = Field(None, description="Of the service", examples=["0a1b2c"])


class DeliveryQuery(Query):
    """Which deliveries of webhooks to list."""

    state: DeliveryState | None = Field(None, description="Only those", examples=["dead"])


def check_id(identifier: str) -> None:
    """Raise ``RequestError`` for an id that may not be chosen."""
    if not ID.fullmatch(identifier):
        raise RequestError(
            ErrorCode.OUT_OF_RANGE,
            "id must be 1 to 128 letters, digits, - or _, and begin with a letter or a digit, "
            f"got {shown(identifier)}",
            field="id",
        )


def _plain(name: str) -> str:
    """``owner/name:version`` without its owner; the version is the name."""
    plain = name.rpartition("/")[2]
    return plain.rpartition(":")[2] or plain


def _body(pictures: dict[str, str]) -> type[Txt2ImgBody]:
    if "mask" in pictures:
        return InpaintBody
    return Img2ImgBody if "image" in pictures else Txt2ImgBody
