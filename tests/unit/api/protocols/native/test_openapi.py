"""The OpenAPI document says what the code does, field by field."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator
from starlette.testclient import TestClient

from api.errors import STATUS
from api.limits import constraints
from api.protocols.native.openapi import Documentation
from api.protocols.native.schemas import Img2ImgBody, InpaintBody, Txt2ImgBody
from settings import Settings
from tests import uploads
from tests.unit.api.conftest import TINY

BODIES = {"/txt2img": Txt2ImgBody, "/img2img": Img2ImgBody, "/inpaint": InpaintBody}


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    body: dict[str, Any] = client.get("/docs.json").json()
    return body


def body_schema(document: dict[str, Any], path: str) -> dict[str, Any]:
    (media,) = document["paths"][path]["post"]["requestBody"]["content"].values()
    schema = resolved(document, media["schema"])
    return schema if path == "/txt2img" else resolved(document, schema["properties"]["data"])


def resolved(document: dict[str, Any], reference: dict[str, str]) -> dict[str, Any]:
    name = reference["$ref"].removeprefix("#/components/schemas/")
    return dict(document["components"]["schemas"][name])


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    # Takes seconds.
    from openapi_spec_validator import validate

    validate(document)


@pytest.mark.parametrize(("path", "body"), BODIES.items())
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
        follows_the_picture = path != "/txt2img" and name in ("width", "height")
        if name not in ("prompt", "seed") and not follows_the_picture:
            assert "default" in properties, name
        if name != "prompt":
            types = properties.get("type") or [each.get("type") for each in properties["anyOf"]]
            assert "null" in types, name
        if name not in ("width", "height"):
            assert properties["examples"], name


def test_documented_multiples_and_models(document: dict[str, Any]) -> None:
    fields = body_schema(document, "/txt2img")["properties"]

    assert fields["width"]["multipleOf"] == fields["height"]["multipleOf"] == TINY.multiple_of
    # What is served changes while the document is read.
    assert "enum" not in fields["model"]
    assert "`auto`" in fields["model"]["description"]


def test_documented_loras(document: dict[str, Any], settings: Settings) -> None:
    loras = body_schema(document, "/inpaint")["properties"]["loras"]
    assert (loras["type"], loras["maxItems"]) == (["array", "null"], settings.max_loras)
    assert loras["items"] == {"$ref": "#/components/schemas/LoraBody"}

    lora = document["components"]["schemas"]["LoraBody"]
    assert lora["required"] == ["name"]
    scale = lora["properties"]["scale"]
    assert (scale["minimum"], scale["maximum"], scale["default"]) == (-2, 2, 1)


def test_documented_defaults_are_those_of_the_default_model(document: dict[str, Any]) -> None:
    fields = body_schema(document, "/img2img")["properties"]

    assert fields["num_inference_steps"]["default"] == TINY.defaults.num_inference_steps
    assert fields["guidance_scale"]["default"] == TINY.defaults.guidance_scale
    assert fields["strength"]["default"] == TINY.defaults.strength
    assert fields["scheduler"]["default"] == TINY.defaults.scheduler
    assert fields["model"]["default"] == TINY.name
    assert (
        body_schema(document, "/txt2img")["properties"]["width"]["default"] == TINY.defaults.width
    )


def test_inpainting_starts_from_noise_unless_told_otherwise(document: dict[str, Any]) -> None:
    assert body_schema(document, "/inpaint")["properties"]["strength"]["default"] == 1


def test_only_models_that_can_do_it_are_offered(settings: Settings) -> None:
    painter = replace(TINY, name="painter", tasks=("inpaint",))
    schemas = Documentation(settings, [painter, TINY]).schemas()

    models = {name: schemas[name]["properties"]["model"] for name in ("Txt2ImgBody", "InpaintBody")}
    assert "default" not in models["Txt2ImgBody"]
    assert models["Txt2ImgBody"]["examples"] == ["tiny", "auto"]
    assert models["InpaintBody"]["examples"] == ["painter", "tiny", "auto"]
    assert models["InpaintBody"]["default"] == "painter"


@pytest.mark.parametrize("path", BODIES)
def test_every_answer_is_documented(document: dict[str, Any], path: str) -> None:
    responses = document["paths"][path]["post"]["responses"]

    # The page asks for the first one unless told otherwise.
    assert list(responses["200"]["content"]) == [
        *("image/png", "image/jpeg", "image/webp", "application/octet-stream"),
        *("application/json", "text/event-stream"),
    ]
    headers = {"X-Seed", "X-Model", "X-LoRAs", "X-Warnings", "X-Screening", "X-Request-Id"}
    assert set(responses["200"]["headers"]) == headers
    # Not here: nobody reads 499, no keys are configured, these paths have their method, and there
    # are no predictions.
    others = {"401", "405", "409", "410", "499", "507"}
    expected = {str(status) for status in STATUS.values()} - others
    assert set(responses) - {"200"} == expected
    for status in expected:
        schema = responses[status]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ErrorBody"}
        assert ("Retry-After" in responses[status]["headers"]) is (status in ("429", "503"))


def test_the_json_answer_is_the_documented_one(
    client: TestClient, document: dict[str, Any]
) -> None:
    content = document["paths"]["/txt2img"]["post"]["responses"]["200"]["content"]
    schema = {**content["application/json"]["schema"], "components": document["components"]}
    answer = client.post("/txt2img", json={"prompt": "x", "num_images": 2}).json()

    Draft202012Validator(schema).validate(answer)


def test_the_examples_work(client: TestClient, document: dict[str, Any]) -> None:
    body = body_schema(document, "/txt2img")["example"]
    assert client.post("/txt2img", json=body).status_code == 200

    picture = uploads.encode(uploads.red_and_blue())
    for path in ("/img2img", "/inpaint"):
        data = json.dumps(body_schema(document, path)["example"])
        files: dict[str, Any] = {"img": picture, "data": (None, data)}
        if path == "/inpaint":
            files["mask"] = picture
        assert client.post(path, files=files).status_code == 200
