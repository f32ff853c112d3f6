"""The OpenAPI document says what the code does, field by field."""

from __future__ import annotations

from typing import Any

import pytest
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from api.errors import STATUS
from api.limits import constraints
from api.schemas import Img2ImgBody, Txt2ImgBody
from settings import Settings
from tests import uploads
from tests.unit.api.conftest import TINY

PATHS = ("/txt2img", "/img2img")


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    body: dict[str, Any] = client.get("/docs.json").json()
    return body


def body_schema(document: dict[str, Any], path: str) -> dict[str, Any]:
    (media,) = document["paths"][path]["post"]["requestBody"]["content"].values()
    schema = media["schema"] if path == "/txt2img" else media["schema"]["properties"]["data"]
    name = schema["$ref"].removeprefix("#/components/schemas/")
    return dict(document["components"]["schemas"][name])


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    validate(document)


@pytest.mark.parametrize(("path", "body"), [("/txt2img", Txt2ImgBody), ("/img2img", Img2ImgBody)])
def test_every_field_is_documented(
    document: dict[str, Any], settings: Settings, path: str, body: type[Txt2ImgBody]
) -> None:
    schema = body_schema(document, path)

    assert schema["additionalProperties"] is False
    assert schema["required"] == ["prompt"]
    assert list(schema["properties"]) == list(body.model_fields)
    limits = constraints(settings)
    for name, properties in schema["properties"].items():
        assert properties["description"], name
        for keyword, value in limits[name].schema.items() if name in limits else ():
            documented = properties[keyword]
            assert documented == ([*value, None] if keyword == "enum" else value), name
        if name not in ("prompt", "seed") and (path, name) not in (
            ("/img2img", "width"),
            ("/img2img", "height"),
        ):
            assert "default" in properties, name
        if name != "prompt":
            assert "null" in properties["type"], name
        if name not in ("width", "height"):
            assert properties["examples"], name


def test_documented_multiples_and_models(document: dict[str, Any]) -> None:
    fields = body_schema(document, "/txt2img")["properties"]

    assert fields["width"]["multipleOf"] == fields["height"]["multipleOf"] == TINY.multiple_of
    assert fields["model"]["enum"] == [TINY.name, None]


def test_documented_defaults_are_those_of_the_default_model(document: dict[str, Any]) -> None:
    fields = body_schema(document, "/img2img")["properties"]

    assert fields["num_inference_steps"]["default"] == TINY.num_inference_steps
    assert fields["guidance_scale"]["default"] == TINY.guidance_scale
    assert fields["strength"]["default"] == TINY.strength
    assert fields["scheduler"]["default"] == TINY.scheduler
    assert fields["model"]["default"] == TINY.name
    assert body_schema(document, "/txt2img")["properties"]["width"]["default"] == TINY.width


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_is_documented(document: dict[str, Any], path: str) -> None:
    responses = document["paths"][path]["post"]["responses"]

    assert set(responses["200"]["content"]) == {"image/png", "image/jpeg", "image/webp"}
    assert set(responses["200"]["headers"]) == {"X-Seed", "X-Model", "X-Request-Id"}
    # Not here: nobody reads 499, no keys are configured, and these paths have their method.
    expected = {str(status) for status in STATUS.values()} - {"401", "403", "405", "499"}
    assert set(responses) - {"200"} == expected
    for status in expected:
        schema = responses[status]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ErrorBody"}
        assert ("Retry-After" in responses[status]["headers"]) is (status in ("429", "503"))


def test_the_examples_work(client: TestClient, document: dict[str, Any]) -> None:
    body = body_schema(document, "/txt2img")["example"]
    assert client.post("/txt2img", json=body).status_code == 200

    data = Img2ImgBody(**body_schema(document, "/img2img")["example"]).model_dump_json()
    picture = uploads.encode(uploads.red_and_blue())
    files: dict[str, Any] = {"img": ("in.png", picture), "data": (None, data)}
    assert client.post("/img2img", files=files).status_code == 200
