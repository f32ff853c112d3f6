"""The handlers of version 2, the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api import request_id
from api.errors import shown
from api.json_response import reply
from api.protocols.kserve.inference import Inference, Work
from api.protocols.kserve.models import Models, NamedModel
from api.protocols.kserve.requests import InferenceRequest
from api.protocols.kserve.responses import (
    InferenceResponse,
    ModelNames,
    ModelReady,
    ResponseTensor,
    ServerLive,
    ServerMetadata,
    ServerReady,
)
from api.protocols.kserve.tensors import OutputTensor, read_inputs
from api.protocols.native.responses import BINARY, JSON, common_headers
from api.uploads import Uploads, media_type, unsupported
from api.version import VERSION
from contract.errors import ErrorCode, RequestError
from contract.request import GenerationRequest

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
_EXTENSIONS: Final = ["binary_tensor_data", "model_configuration", "model_repository"]
# Of which JSON is made in one go.
_MAX_JSON_ELEMENTS: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that was understood: the work, and the outputs that are wanted, each with whether
    it is to be binary data."""

    work: Work
    outputs: dict[str, bool]
    id: str


class V2Endpoints:
    """Handlers: each takes a request with its body unread, and raises ``RequestError``.

    Args:
        models: finds the models.
        inference: runs them.
        uploads: reads the bodies.
    """

    def __init__(self, models: Models, inference: Inference, uploads: Uploads) -> None:
        self._models = models
        self._inference = inference
        self._uploads = uploads

    async def server(self, request: Request) -> Response:
        """The service's name, version and extensions."""
        return reply(
            ServerMetadata(name="stable_diffusion", version=VERSION, extensions=_EXTENSIONS)
        )

    async def live(self, request: Request) -> Response:
        """200 as long as the process lives."""
        return reply(ServerLive(live=True))

    async def ready(self, request: Request) -> Response:
        """200 where requests are taken, else 503."""
        await self._models.check_service()
        return reply(ServerReady(ready=True))

    async def names(self, request: Request) -> Response:
        """The names of all models."""
        return reply(ModelNames(models=[model.name for model in await self._models.all()]))

    async def metadata(self, request: Request) -> Response:
        """The inputs and outputs of a model."""
        return reply((await self._model(request)).metadata)

    async def configuration(self, request: Request) -> Response:
        """The same in Triton's words."""
        return reply((await self._model(request)).configuration)

    async def model_ready(self, request: Request) -> Response:
        """200 where requests to a model are served, else 503."""
        model = await self._model(request)
        await self._models.check_ready(model)
        return reply(ModelReady(name=model.name, ready=True))

    async def infer(self, request: Request) -> Response:
        """Tensors in, tensors out."""
        model = await self._model(request)
        check_type(request, BINARY)
        self._inference.check_room(model, request)
        asked = await self._asked(model, request)
        (result,) = await self._inference.run([asked.work], request)
        tensors = await self._inference.tensors(result, list(asked.outputs))
        headers = {} if asked.work.generation is None else common_headers(asked.work.generation)
        return _response(model, asked, tensors, headers)

    async def _model(self, request: Request) -> NamedModel:
        path = request.path_params
        return await self._models.find(path["model"], path.get("version"))

    async def _asked(self, model: NamedModel, request: Request) -> _Asked:
        """Read a request; nothing of its body is kept but what is decoded."""
        async with self._uploads.inflated(request) as body:
            length = _header_length(request, len(body))
            parsed = await self._uploads.parse(InferenceRequest, body[:length])
            if parsed.model_name not in {None, model.name}:
                raise RequestError(
                    ErrorCode.INVALID_REQUEST,
                    f"model_name must be that of the path, {model.name}, got "
                    f"{shown(parsed.model_name)}",
                    field="model_name",
                )
            outputs = _outputs(model, parsed)
            with memoryview(body)[length:] as binary:
                inputs = read_inputs(parsed, binary, model.known_inputs)
                try:
                    work = await self._inference.work(model, inputs, request)
                finally:
                    for picture in inputs.pictures.values():
                        if isinstance(picture, memoryview):
                            picture.release()
            if work.generation is not None and not outputs.get("pixels", True):
                _check_json(work.generation)
            return _Asked(work, outputs, parsed.id or request_id.current.get())


def check_type(request: Request, *others: str) -> None:
    """Raise ``RequestError`` for a body of another type than JSON; some clients name none."""
    given = media_type(request)
    if given and given not in {JSON, *others}:
        raise unsupported(" or ".join((JSON, *others)), given)


def _header_length(request: Request, whole: int) -> int:
    """The bytes of a body that are JSON."""
    given = request.headers.get(HEADER_LENGTH)
    if given is None:
        return whole
    # More digits than a length has are none.
    if not (given.isascii() and given.isdecimal() and len(given) < 20 and int(given) <= whole):
        raise RequestError(
            ErrorCode.INVALID_REQUEST,
            f"{HEADER_LENGTH} must be at most the body's length, {whole}, got {shown(given)}",
            field=HEADER_LENGTH,
        )
    return int(given)


def _outputs(model: NamedModel, request: InferenceRequest) -> dict[str, bool]:
    """The wanted outputs, in their order, and whether each is to be binary data."""
    binary = request.binary_output
    known = [tensor.name for tensor in model.outputs]
    if not request.outputs:
        return dict.fromkeys((name for name in known if name != "pixels"), binary)
    outputs: dict[str, bool] = {}
    for output in request.outputs:
        if output.name not in known:
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                f"{shown(output.name)} is not one of the outputs, which are {', '.join(known)}",
                field="outputs",
            )
        outputs[output.name] = output.binary(binary)
    return outputs


def _check_json(wanted: GenerationRequest) -> None:
    """Raise ``RequestError`` where pixels in JSON would be too many."""
    elements = wanted.num_images * wanted.width * wanted.height * 3
    if elements > _MAX_JSON_ELEMENTS:
        raise RequestError(
            ErrorCode.OUT_OF_RANGE,
            f"pixels in JSON must be at most {_MAX_JSON_ELEMENTS} elements, got {elements}; ask "
            "for them with binary_data",
            field="outputs",
        )


def _response(
    model: NamedModel, asked: _Asked, tensors: Sequence[OutputTensor], headers: dict[str, str]
) -> Response:
    """The tensors, some in the JSON, and behind it those that are wanted as binary data."""
    described: list[ResponseTensor] = []
    pieces: list[bytes] = []
    for tensor in tensors:
        entry = ResponseTensor(name=tensor.name, datatype=tensor.datatype, shape=list(tensor.shape))
        if asked.outputs[tensor.name]:
            binary = tensor.binary()
            entry.parameters = {"binary_data_size": sum(map(len, binary))}
            pieces += binary
        else:
            entry.data = tensor.json()
        described.append(entry)
    body = InferenceResponse(
        model_name=model.name, model_version=model.version, id=asked.id, outputs=described
    )
    head = body.model_dump_json(exclude_none=True).encode()
    if not pieces:
        return Response(head, media_type=JSON, headers=headers)
    return StreamingResponse(
        _iterate([head, *pieces]),
        media_type=BINARY,
        headers={
            **headers,
            HEADER_LENGTH: str(len(head)),
            "Content-Length": str(len(head) + sum(map(len, pieces))),
        },
    )


async def _iterate(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
