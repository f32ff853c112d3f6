from __future__ import annotations

import asyncio

import bentoml
import pytest
from starlette.requests import Request
from starlette.responses import Response

from serving.descriptors import ReadyResponse, RequestBody, RequestQuery
from settings import Settings
from tests.unit.api.conftest import ColourBackend, native_protocols

PROTOCOLS = native_protocols(ColourBackend(), Settings())
ENDPOINTS = {endpoint.name: endpoint for endpoint in PROTOCOLS.endpoints}
TXT2IMG = ENDPOINTS["txt2img"]


def test_requests_and_responses_pass_untouched() -> None:
    request = Request({"type": "http", "headers": []})
    response = Response()
    body = RequestBody(TXT2IMG.request_body or {}, PROTOCOLS.schemas)
    ready = ReadyResponse(TXT2IMG.responses[200])

    assert asyncio.run(body.from_http_request(request)) is request
    assert asyncio.run(ready.to_http_response(response)) is response


@pytest.mark.parametrize("name", ["txt2img", "img2img", "inpaint"])
def test_bentoml_can_document_an_endpoint_with_them(name: str) -> None:
    openapi = ENDPOINTS[name].request_body
    assert openapi is not None
    svc = bentoml.legacy.Service("documented")

    @svc.api(
        input=RequestBody(openapi, PROTOCOLS.schemas),
        output=ReadyResponse(TXT2IMG.responses[200]),
    )
    async def draw(request: Request) -> Response:
        raise NotImplementedError

    document = svc.openapi_spec.asdict()
    operation = document["paths"]["/draw"]["post"]
    assert {"Txt2ImgBody", "Img2ImgBody", "InpaintBody", "GeneratedImages"} <= set(
        document["components"]["schemas"]
    )
    assert operation["requestBody"] == openapi
    assert "image/png" in operation["responses"][200]["content"]


def test_bentoml_can_document_an_endpoint_with_everything_in_the_url() -> None:
    svc = bentoml.legacy.Service("documented")

    @svc.api(input=RequestQuery(), output=ReadyResponse(TXT2IMG.responses[200]))
    async def draw(request: Request) -> Response:
        raise NotImplementedError

    operation = svc.openapi_spec.asdict()["paths"]["/draw"]["post"]
    assert operation["requestBody"]["required"] is False


def test_other_protocols_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="RequestBody speaks HTTP only"):
        asyncio.run(RequestBody(TXT2IMG.request_body or {}, PROTOCOLS.schemas).from_proto(None))
