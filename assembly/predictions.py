"""Predictions of the settings: their store, and the measurements of this host."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.exc import ArgumentError

from api.backend import Backend
from api.predictions.bucket import BucketFiles
from api.predictions.database import FILE, Database
from api.predictions.errors import StoreUnusable
from api.predictions.files import Files, FolderFiles
from api.predictions.measures import Measures
from api.predictions.opening import Opening
from api.predictions.prediction import Prediction
from api.predictions.predictions import Predictions
from assembly.measuring import Instruments
from models.bucket import SCHEME
from settings import Settings
from settings.store import AUTO, NONE

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400)


def opening(
    settings: Settings, backend: Backend, instruments: Callable[[], Instruments]
) -> Opening | None:
    """The predictions of the settings; None where there are to be none.

    Args:
        settings: say where they are.
        backend: generates the pictures.
        instruments: makes those of the host; called when predictions are opened.

    Raises:
        StoreUnusable: ``SD_STORE`` or ``SD_STORE_PICTURES`` names a folder that cannot be written
            to.
    """
    if settings.store == NONE:
        return None
    folder = settings.store_folder
    if settings.store != AUTO and not settings.build_only:
        for named in (folder, _picture_folder(settings)):
            if named is not None:
                _writable(named)
    measures: list[Measures] = []

    def make() -> Predictions:
        # Instruments can be made once, and the store may have to be opened again.
        if not measures:
            measures.append(PredictionMeasures(instruments()))
        if folder is not None:
            _writable(folder)
        try:
            database = Database.of(settings)
        except ArgumentError as error:
            raise StoreUnusable(f"SD_STORE is no URL of a database: {error}") from error
        url = settings.store if folder is None else None
        return Predictions(backend, settings, database, _files(settings), measures[0], url)

    # The newcomer's folder is made when it is needed.
    left = settings.store != AUTO or (folder is not None and (folder / FILE).exists())
    return Opening(make, at_start=left)


class PredictionMeasures:
    """Implements ``api.predictions.measures.Measures`` with a host's instruments."""

    def __init__(self, instruments: Instruments) -> None:
        counter, gauge, histogram = instruments.counter, instruments.gauge, instruments.histogram
        self._accepted = counter("sd_predictions_accepted", "Predictions that were accepted")
        self._retried = counter(
            "sd_prediction_retries", "Attempts at predictions that had been begun before"
        )
        self._running = gauge("sd_predictions_running", "Predictions that run")
        self._unfinished = gauge(
            "sd_predictions_unfinished",
            "Predictions in the store that are not over; of hosts that share it, each says so",
        )
        self._stored = gauge("sd_store_bytes", "Bytes of all pictures in the store; likewise")
        self._ended = counter("sd_predictions_ended", "Predictions that are over", ["status"])
        self._waits = histogram(
            "sd_prediction_wait_seconds",
            "Seconds from the acceptance of a prediction to the attempt that ended it",
            buckets=_SECONDS,
        )
        self._seconds = histogram(
            "sd_prediction_seconds",
            "Seconds from the acceptance of a prediction to its end",
            buckets=_SECONDS,
        )
        self._webhooks = counter(
            "sd_webhooks", "Attempts to deliver the last webhook of a prediction", ["outcome"]
        )
        for status in ("succeeded", "failed", "canceled"):
            self._ended(0, status)
        for outcome in ("delivered", "retried", "dead"):
            self._webhooks(0, outcome)

    def accepted(self) -> None:
        self._accepted(1)

    def begun(self, prediction: Prediction) -> None:
        if prediction.attempts > 1:
            self._retried(1)

    def running(self, count: int) -> None:
        self._running(count)

    def ended(self, prediction: Prediction) -> None:
        self._ended(1, prediction.status.value)
        if prediction.started_at is not None:
            self._waits(prediction.started_at - prediction.created_at)
        if prediction.completed_at is not None:
            self._seconds(prediction.completed_at - prediction.created_at)

    def stored(self, unfinished: int, stored: int) -> None:
        self._unfinished(unfinished)
        self._stored(stored)

    def webhook(self, outcome: str) -> None:
        self._webhooks(1, outcome)


def _files(settings: Settings) -> Files:
    where = settings.store_pictures
    if where is not None and where.startswith(SCHEME):
        return BucketFiles(where)
    folder = _picture_folder(settings)
    if folder is None:
        raise StoreUnusable("SD_STORE_PICTURES does not say where the pictures are")
    try:
        return FolderFiles(folder)
    except OSError as error:
        raise StoreUnusable(f"{folder} cannot be written to: {error}") from error


def _picture_folder(settings: Settings) -> Path | None:
    where = settings.store_pictures
    if where is None:
        folder = settings.store_folder
        return None if folder is None else folder / "pictures"
    return None if where.startswith(SCHEME) else Path(where)


def _writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnusable(f"{folder} cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreUnusable(f"{folder} cannot be written to")
