"""The native protocol of the classifier: a picture in, labels with their scores out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api import images, request_id
from api.classifier import Classifier
from api.error_boundary import with_error_response
from api.limits import Range
from api.responses import JSON
from api.schemas import ClassifyQuery, Prediction, Predictions
from api.uploads import Uploads, form_body
from contract.errors import ErrorCode, RequestError
from models.vit import ViT
from settings import Settings

DEFAULT_TOP_K: Final = 5
# They take milliseconds: whoever comes back after a second finds room.
_RETRY_AFTER: Final = 1.0


class Classification:
    """Answers ``/classify`` on any Starlette-compatible host.

    Args:
        classifier: what looks at the pictures.
        settings: the limits.
    """

    def __init__(self, classifier: Classifier, settings: Settings) -> None:
        self._classifier = classifier
        self._settings = settings
        self._uploads = Uploads()
        self._in_flight = 0

    @property
    def vit(self) -> ViT:
        """What is known of the classifier."""
        return self._classifier.vit

    async def classify(self, request: Request) -> Response:
        """Multipart (``img``) in, the likeliest labels out; every failure is the error body."""
        return await with_error_response(self._classify(request))

    async def _classify(self, request: Request) -> Response:
        top_k = self._top_k(request)
        body = await form_body(request)
        most = self._settings.max_classifications
        if self._in_flight >= most:
            raise RequestError(
                ErrorCode.BUSY,
                f"at most {most} pictures are classified at a time",
                retry_after=_RETRY_AFTER,
            )
        # Nothing is given up when a client leaves: that would hide work in progress from the count.
        self._in_flight += 1
        try:
            pixels = await self._uploads.process(
                body, request.headers["content-type"], ("img",), self._prepare
            )
            scores = await self._classifier.scores(pixels)
        finally:
            self._in_flight -= 1
        vit = self.vit
        best = sorted(zip(scores, vit.labels, strict=True), reverse=True)[:top_k]
        answer = Predictions(
            predictions=[Prediction(label=label, score=score) for score, label in best],
            model=vit.name,
            request_id=request_id.current.get(),
        )
        return Response(answer.model_dump_json(), media_type=JSON)

    def _top_k(self, request: Request) -> int:
        query = ClassifyQuery.of(request.query_params.multi_items())
        labels = len(self.vit.labels)
        if query.top_k is None:
            return min(DEFAULT_TOP_K, labels)
        Range(1, labels).check("top_k", query.top_k)
        return query.top_k

    def _prepare(self, parts: Mapping[str, bytes]) -> bytes:
        """Decode and resize, as the network's own image processor would."""
        vit = self.vit
        picture = images.decode(parts["img"], self._settings.max_input_pixels, "img")
        return images.to_bytes(picture, vit.width, vit.height, vit.resample)
