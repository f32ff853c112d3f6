"""The document: a prediction as clients and webhooks see it, in the fields of Replicate's API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from api.predictions.links import Links
from api.predictions.prediction import Prediction, Status


def document(
    prediction: Prediction, links: Links, base_url: str, position: int | None = None
) -> dict[str, Any]:
    """The prediction as JSON has it.

    Args:
        prediction: as it is now.
        links: sign those to its pictures.
        base_url: what they begin with.
        position: how many wait in front of it; None where it does not wait.
    """
    itself = f"{base_url}/predictions/{prediction.id}"
    outputs = [
        {
            "index": one.index,
            "url": links.output(base_url, prediction.id, one.index),
            "media_type": one.media_type,
            "bytes": one.bytes,
            "sha256": one.etag,
            "width": one.width,
            "height": one.height,
            "seed": one.seed,
            "prompt": one.prompt,
            "warnings": list(one.warnings),
            "screening": list(one.screening),
        }
        for one in (prediction.outputs if prediction.removed_at is None else ())
    ]
    succeeded = prediction.status is Status.SUCCEEDED and prediction.removed_at is None
    return {
        "id": prediction.id,
        "model": prediction.served_as,
        "version": prediction.served_as,
        "input": prediction.input,
        "output": [one["url"] for one in outputs] if succeeded else None,
        "outputs": outputs,
        "status": prediction.status.value,
        "error": prediction.error,
        "error_code": prediction.error_code and prediction.error_code.value,
        "logs": _logs(prediction),
        "metrics": _metrics(prediction),
        "created_at": timestamp(prediction.created_at),
        "started_at": timestamp(prediction.started_at),
        "completed_at": timestamp(prediction.completed_at),
        "data_removed": prediction.removed_at is not None,
        "queue_position": position,
        "priority": "low" if prediction.priority < 0 else "normal",
        "attempts": prediction.attempts,
        "progress": {"step": prediction.step, "total": prediction.total},
        "urls": {"get": itself, "cancel": f"{itself}/cancel", "events": f"{itself}/events"},
    }


def timestamp(seconds: float | None) -> str | None:
    """A time as RFC 3339 writes it."""
    if seconds is None:
        return None
    return (
        datetime.fromtimestamp(seconds, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def _logs(prediction: Prediction) -> str:
    """The seed, and a progress bar as Replicate's clients read it."""
    lines = [f"Using seed: {prediction.input['seed']}"]
    if prediction.total:
        percentage = 100 * prediction.step // prediction.total
        done = "#" * (percentage // 5)
        lines.append(f"{percentage}%|{done:20}| {prediction.step}/{prediction.total}")
    return "\n".join(lines)


def _metrics(prediction: Prediction) -> dict[str, float]:
    """Seconds: of the attempt that has ended it, and of all."""
    if prediction.completed_at is None:
        return {}
    metrics = {"total_time": round(prediction.completed_at - prediction.created_at, 3)}
    if prediction.started_at is not None:
        metrics["predict_time"] = round(prediction.completed_at - prediction.started_at, 3)
    return metrics
