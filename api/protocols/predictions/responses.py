"""The response bodies, for the documentation: ``api.predictions.document`` writes them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.predictions.outbox import DeliveryState
from api.predictions.prediction import Status
from contract.errors import ErrorCode


class _Response(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PredictedOutput(_Response):
    """A finished picture."""

    index: int = Field(description="Index among the prediction's pictures, from 0")
    url: str = Field(description="A signed link, which expires")
    media_type: str
    bytes: int
    sha256: str
    width: int
    height: int
    seed: int = Field(description="The seed that gives this picture alone")
    prompt: str
    warnings: list[str]
    screening: list[str]


class PredictionProgress(_Response):
    """Steps that are done, of all pictures; of one that runs, as of some seconds ago."""

    step: int
    total: int


class PredictionUrls(_Response):
    """Where a prediction is."""

    get: str
    cancel: str
    events: str


class PredictionState(_Response):
    """A prediction, in the fields of Replicate's API and a few of ours."""

    id: str
    model: str
    version: str
    input: dict[str, Any] = Field(
        description="As it was sent, with the seed, and a digest for each picture"
    )
    output: list[str] | None = Field(description="Signed links, which expire; once it succeeded")
    outputs: list[PredictedOutput]
    status: Status
    error: str | None
    error_code: ErrorCode | None
    logs: str
    metrics: dict[str, float] = Field(description="Seconds: `predict_time`, `total_time`")
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    data_removed: bool = Field(description="Whether its pictures were deleted, as time was over")
    queue_position: int | None = Field(description="How many wait in front, where it is asked for")
    priority: Literal["normal", "low"]
    attempts: int = Field(description="How often it was begun")
    progress: PredictionProgress
    urls: PredictionUrls


class PredictionPage(_Response):
    """Predictions, the latest first."""

    previous: None
    next: str | None = Field(description="The URL of the next page")
    results: list[PredictionState]


class SigningSecret(_Response):
    """What verifies our webhooks."""

    key: str = Field(description="As Standard Webhooks has it: `whsec_...`")


class WebhookDelivery(_Response):
    """The last webhook of a prediction, and what became of it."""

    id: str = Field(description="That of the event, which the receiver sees as `webhook-id`")
    prediction: str
    url: str
    event: Literal["completed"]
    state: DeliveryState
    attempts: int
    last_error: str | None
    created_at: datetime
    next_attempt_at: datetime | None


class WebhookDeliveries(_Response):
    """Deliveries, the latest first; at most 100."""

    results: list[WebhookDelivery]


class ReplicateVersion(_Response):
    """The one version of a model."""

    id: str
    created_at: datetime
    cog_version: str
    openapi_schema: dict[str, Any]


class ReplicateModel(_Response):
    """A model, as Replicate's clients know it."""

    url: str
    owner: str
    name: str
    description: str
    visibility: Literal["private"]
    run_count: int
    latest_version: ReplicateVersion
