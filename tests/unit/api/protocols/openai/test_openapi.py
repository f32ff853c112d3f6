"""The OpenAPI document says what the code does."""

from __future__ import annotations

from typing import Any

from jsonschema_rs import Draft202012Validator
from starlette.testclient import TestClient

from api.protocols.openai.bodies import (
    RENAMED,
    ImageEdit,
    ImageEditReferences,
    ImageGeneration,
    ImagesBody,
    ImageVariation,
)
from tests import uploads
from tests.unit.api import sse
from tests.unit.api.protocols.openai.conftest import EDITS, GENERATIONS, VARIATIONS, generate

SCHEMAS: dict[str, tuple[type[ImagesBody], set[str]]] = {
    "ImageGeneration": (ImageGeneration, set()),
    "ImageEditReferences": (ImageEditReferences, set()),
    "ImageEditForm": (ImageEdit, {"image", "mask"}),
    "ImageVariationForm": (ImageVariation, {"image"}),
}


def test_the_document(client: TestClient) -> None:
    # Takes seconds.
    from openapi_spec_validator import validate

    document: dict[str, Any] = client.get("/docs.json").json()
    validate(document)
    schemas = document["components"]["schemas"]

    for name, (body, pictures) in SCHEMAS.items():
        schema = schemas[name]
        assert schema["additionalProperties"] is False
        assert set(schema["properties"]) == {*body.model_fields, *pictures} - set(RENAMED), name
        for field, properties in schema["properties"].items():
            assert properties["description"], (name, field)
            # Generated clients send them, and some exclude each other.
            assert "default" not in properties, (name, field)
            if name.endswith("Form"):
                assert isinstance(properties["type"], str), (name, field)
    fields = schemas["ImageGeneration"]["properties"]
    assert (fields["n"]["minimum"], fields["n"]["maximum"]) == (1, 8)
    assert fields["response_format"]["enum"] == ["b64_json", None]
    for path in (GENERATIONS, EDITS, VARIATIONS):
        responses = document["paths"][path]["post"]["responses"]
        expected = {"400", "403", "404", "408", "413", "415", "429", "500", "503", "504"}
        assert set(responses) - {"200", "401"} == expected
    content = document["paths"][EDITS]["post"]["requestBody"]["content"]
    assert list(content) == ["multipart/form-data", "application/json"]

    # What is documented is what comes, and the examples work.
    def check(name: str, value: Any) -> None:
        reference = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        Draft202012Validator(reference).validate(value)

    example = schemas["ImageGeneration"]["example"]
    response = client.post(GENERATIONS, json=example)
    assert response.status_code == 200
    check("ImagesResponse", response.json())
    response = client.post(EDITS, json=schemas["ImageEditReferences"]["example"])
    assert response.status_code == 200, response.text
    streamed = generate(client, stream=True, partial_images=1).text
    kinds = {"partial_image": "PartialImageEvent", "completed": "CompletedEvent"}
    for name, event in sse.parse(streamed):
        if name != ":":
            check(kinds[name.partition(".")[2]], event)
    check("OpenAIError", generate(client, n=0).json())
    check("OpenAIModelList", client.get("/v1/models").json())
    check("OpenAIModel", client.get("/v1/models/tiny").json())
    # The form as the document has it.
    picture = uploads.encode(uploads.red_and_blue())
    form: dict[str, Any] = {"prompt": (None, "x"), "n": (None, "1")}
    form["image"] = ("a.png", picture, "image/png")
    assert client.post(EDITS, files=form).status_code == 200
