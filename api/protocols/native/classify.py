"""The handler of ``/classify``: a picture in, labels with their scores out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from api import request_id
from api.classifier import BoundedClassifier
from api.parameters import fields_named
from api.protocols.native.responses import JSON
from api.protocols.native.results import Prediction, Predictions
from api.protocols.native.schemas import ClassifyQuery
from api.uploads import Uploads


class ClassifyEndpoint:
    """Handler of ``/classify``.

    Args:
        classifier: classifies the pictures.
        uploads: reads the bodies.
    """

    def __init__(self, classifier: BoundedClassifier, uploads: Uploads) -> None:
        self._classifier = classifier
        self._uploads = uploads

    async def classify(self, request: Request) -> Response:
        """Multipart (``img``) in, the likeliest labels out. Raises ``RequestError``."""
        query = ClassifyQuery.of(request.query_params.multi_items())
        top_k = self._classifier.top_k(query.top_k)
        self._classifier.check_room(request)
        with fields_named({"image": "img"}):
            async with self._uploads.form(request, ["img"]) as parts:
                labels = await self._classifier.classify(parts["img"], top_k, request)
        predictions = Predictions(
            predictions=[Prediction(label=one.label, score=one.score) for one in labels],
            model=self._classifier.vit.name,
            request_id=request_id.current.get(),
        )
        return Response(predictions.model_dump_json(), media_type=JSON)
