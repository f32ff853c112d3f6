"""The acceptance: a valid request becomes a prediction, and the response that says so."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api import clients
from api.bodies import Body
from api.errors import out_of_range
from api.keys.metering import Metering
from api.predictions.document import document
from api.predictions.opening import Opening
from api.predictions.prediction import Options, Order, Prediction
from api.predictions.predictions import Predictions
from api.preferences import preferences
from contract.events import Image
from contract.request import GenerationRequest
from settings import Settings

Part = bytes | bytearray | memoryview

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Sent:
    """What a client has sent.

    Attributes:
        input: the fields of its body, with a digest in the place of each picture.
        digest: SHA-256 of all of it: that of a request that is sent again is the same.
    """

    input: Mapping[str, Any]
    digest: str

    @classmethod
    def of(cls, path: str, body: Body, text: Part, pictures: Mapping[str, Part]) -> Self:
        """Of the path of an endpoint, its body, the text of that, and its pictures."""
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in pictures.items()}
        whole = hashlib.sha256(b"\n".join([path.encode(), bytes(text), repr(digests).encode()]))
        shown = {name: f"sha256:{digest}" for name, digest in digests.items()}
        return cls(body.model_dump(mode="json", exclude_unset=True) | shown, whole.hexdigest())


class Acceptance:
    """Accepts predictions, for the protocol of predictions and for any endpoint of another one.

    Args:
        opening: has the predictions.
        settings: say how links begin.
        metering: has the accounts of the keys.
    """

    def __init__(
        self, opening: Opening, settings: Settings, metering: Metering | None = None
    ) -> None:
        self.opening = opening
        self._metering = metering or Metering()
        self._public_url = settings.public_url

    def wanted(self, request: Request) -> bool:
        """Whether the client prefers a prediction to waiting."""
        return preferences(request).respond_async

    async def respond(
        self,
        request: Request,
        wanted: GenerationRequest,
        sent: Sent,
        options: Options | None = None,
    ) -> Response:
        """Accept a prediction, and wait for it as long as the client prefers to.

        Args:
            request: the HTTP request.
            wanted: what is to be run.
            sent: what the client has sent.
            options: what else it has said.

        Raises:
            RequestError: what ``Predictions.accept`` raises; BUSY above the quotas of the key.
        """
        predictions = await self.opening.get()
        prefers = preferences(request)
        options = replace(options or Options(), idempotency_key=idempotency_key(request))
        order = self._order(request, wanted, sent, options)
        with self._metering.charge(wanted) as charge:
            prediction, is_new = await predictions.accept(order, charge.take)
            charge.stands = is_new
        if prefers.wait is not None:
            prediction = await predictions.wait(prediction, prefers.wait)
        headers = {"Location": f"{self.base_url(request)}/predictions/{prediction.id}"}
        status = 201 if is_new else 200
        applied = []
        if prefers.respond_async:
            status = 202
            applied.append("respond-async")
        if prefers.wait is not None:
            applied.append(f"wait={prefers.wait}")
        if applied:
            headers["Preference-Applied"] = ", ".join(applied)
        return self.reply(request, predictions, prediction, status=status, headers=headers)

    async def check_room(self) -> None:
        """Look whether pictures can be kept. Raises ``RequestError``: STORAGE_FULL, NOT_READY."""
        await (await self.opening.get()).keeping.check()

    async def keep(
        self,
        request: Request,
        wanted: GenerationRequest,
        sent: Sent,
        images: Sequence[Image],
        seconds: float,
    ) -> list[str]:
        """Keep pictures that are there already, as a prediction that is over.

        Args:
            request: the HTTP request.
            wanted: what they were made for.
            sent: what the client has sent.
            images: in the order of their index.
            seconds: that it took to make them.

        Returns:
            Signed links to them, which expire.

        Raises:
            RequestError: STORAGE_FULL, NOT_READY.
        """
        predictions = await self.opening.get()
        order = self._order(request, wanted, sent, Options())
        kept = await predictions.keeping.keep(order, images, seconds)
        return [
            predictions.links.output(order.base_url, kept.id, one.index) for one in kept.outputs
        ]

    def _order(
        self, request: Request, wanted: GenerationRequest, sent: Sent, options: Options
    ) -> Order:
        return Order(
            request=wanted,
            input={**sent.input, "seed": wanted.seed},
            digest=sent.digest,
            tenant=clients.current(),
            base_url=self.base_url(request),
            options=options,
        )

    def reply(
        self,
        request: Request,
        predictions: Predictions,
        prediction: Prediction,
        *,
        position: int | None = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """The response that is a prediction."""
        body = document(prediction, predictions.links, self.base_url(request), position)
        return JSONResponse(body, status, {"Cache-Control": "no-store", **(headers or {})})

    def base_url(self, request: Request) -> str:
        """What links begin with."""
        return self._public_url or str(request.base_url).rstrip("/")


def idempotency_key(request: Request) -> str | None:
    """The Idempotency-Key of a request. Raises ``RequestError``: OUT_OF_RANGE."""
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    if len(keys) > 1 or not _KEY.fullmatch(keys[0]):
        raise out_of_range(
            "Idempotency-Key",
            "there once, 1 to 255 printable ASCII characters long",
            keys[0] if len(keys) == 1 else keys,
        )
    return keys[0]
