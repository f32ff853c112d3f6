"""What only some models take: it reaches the request, or is refused by name."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import PIL.Image
import pytest
from starlette.testclient import TestClient

from api.parameters import RefinerParameter
from contract.errors import ErrorCode, RequestError
from contract.request import Segment
from models.architectures import ENSEMBLE_SCHEDULERS, SKIP_FIELDS
from tests.unit.api.conftest import ColourBackend, error_of
from tests.unit.api.families import REFINER, REFINER_2, SD1, SD3, XL, XL_INPAINTER, XL_TUNED
from tests.unit.api.parameters import img2img, txt2img
from tests.unit.api.validated import Validated


@pytest.fixture
def backend() -> ColourBackend:
    backend = ColourBackend()
    backend.models = (SD1, XL, XL_TUNED, XL_INPAINTER, REFINER, REFINER_2, SD3)
    return backend


def picture() -> bytes:
    file = BytesIO()
    PIL.Image.new("RGB", (64, 64)).save(file, "PNG")
    return file.getvalue()


def test_what_a_model_takes_reaches_the_request(validation: Validated) -> None:
    fields: dict[str, Any] = {
        "prompt_2": "a",
        "negative_prompt": "",
        "negative_prompt_2": "c",
        "guidance_rescale": 0.7,
        "original_size": (512, 768),
        "crop": (0, 8192),
    }
    request = validation.request(txt2img(prompt="x", model="xl", **fields), "r")
    assert {name: getattr(request, name) for name in fields} == fields
    plain = validation.request(txt2img(prompt="x", model="xl"), "r")
    assert (plain.negative_prompt, plain.original_size, plain.crop) == (None, None, (0, 0))
    assert plain.segments == ()


def test_three_prompts_reach_the_request(validation: Validated) -> None:
    fields: dict[str, Any] = {
        "prompt_2": "a",
        "prompt_3": "b",
        "negative_prompt": "c",
        "negative_prompt_3": "d",
        "guidance_rescale": 0.5,
    }
    request = validation.request(txt2img(prompt="x", model="sd3", **fields), "r")
    assert {name: getattr(request, name) for name in fields} == fields
    assert request.negative_prompt_2 is None


def test_layers_are_skipped_as_asked_for_or_as_the_model_has_it(validation: Validated) -> None:
    def told(**fields: Any) -> tuple[Any, ...]:
        request = validation.request(txt2img(prompt="x", model="sd3", **fields), "r")
        return tuple(getattr(request, name) for name in SKIP_FIELDS)

    assert told() == ((7, 8, 9), 2.8, 0.01, 0.2)
    assert told(skip_layers=()) == ((), 2.8, 0.01, 0.2)
    assert told(skip_layers=(1,), skip_layer_scale=0.5, skip_layer_end=1) == ((1,), 0.5, 0.01, 1)
    of_sd1 = validation.request(txt2img(prompt="x", model="sd"), "r")
    assert of_sd1.skip_layers == ()


def test_layers_are_skipped_in_pictures_from_text_alone(validation: Validated) -> None:
    with pytest.raises(RequestError) as refused:
        validation.request(img2img(picture(), prompt="x", model="sd3", skip_layers=(1,)), "r")
    assert refused.value.field == "skip_layers"
    assert refused.value.message == "skip_layers must be absent for img2img, got [1]"
    request = validation.request(img2img(picture(), prompt="x", model="sd3"), "r")
    assert request.skip_layers == ()


def test_an_interval_that_ends_before_it_begins(validation: Validated) -> None:
    error = refusal(validation, "sd3", skip_layer_start=0.5)
    assert (error.code, error.field) == (ErrorCode.OUT_OF_RANGE, "skip_layer_start")
    assert error.message == "skip_layer_start must be below skip_layer_end, got 0.5 and 0.2"


def test_a_refiner_alone_is_told_scores(validation: Validated) -> None:
    parameters = img2img(picture(), prompt="x", model="xl-refiner", aesthetic_score=7)
    request = validation.request(parameters, "r")
    assert (request.aesthetic_score, request.negative_aesthetic_score) == (7, 2.5)


@pytest.mark.parametrize(
    ("model", "refiner", "segments"),
    [
        ("xl", {}, (("xl", 0, 0.8), ("xl-refiner", 0.8, 1))),
        ("xl", {"switch_at": 0.5}, (("xl", 0, 0.5), ("xl-refiner", 0.5, 1))),
        ("xl", {"model": "xl-refiner-2"}, (("xl", 0, 0.8), ("xl-refiner-2", 0.8, 1))),
        ("xl-tuned", {"model": "xl-refiner"}, (("xl-tuned", 0, 0.8), ("xl-refiner", 0.8, 1))),
    ],
)
def test_base_and_refiner_are_segments(
    validation: Validated, model: str, refiner: dict[str, Any], segments: Any
) -> None:
    wanted = RefinerParameter(**refiner, aesthetic_score=8.0)
    request = validation.request(txt2img(prompt="x", model=model, refiner=wanted), "r")
    assert request.segments == tuple(Segment(*each) for each in segments)
    assert request.aesthetic_score == 8


@pytest.mark.parametrize("scheduler", ENSEMBLE_SCHEDULERS)
def test_schedulers_of_both(validation: Validated, scheduler: str) -> None:
    parameters = txt2img(prompt="x", model="xl", scheduler=scheduler, refiner=RefinerParameter())
    assert validation.request(parameters, "r").scheduler == scheduler


def refusal(validation: Validated, model: str, **fields: Any) -> RequestError:
    parameters = txt2img(prompt="x", model=model, **fields)
    if model == "xl-refiner":
        parameters = img2img(picture(), prompt="x", model=model, **fields)
    with pytest.raises(RequestError) as refused:
        validation.request(parameters, "r")
    return refused.value


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        ("sd", "prompt_2", "a house"),
        ("sd", "negative_prompt_2", "a house"),
        ("sd", "original_size", (64, 64)),
        ("sd", "crop", (0, 0)),
        ("sd", "refiner", RefinerParameter(model="xl-refiner")),
        ("sd", "aesthetic_score", 6.0),
        ("xl", "aesthetic_score", 6.0),
        ("xl", "prompt_3", "a house"),
        ("xl", "skip_layers", (1,)),
        ("sd", "skip_layer_scale", 1.0),
        ("sd3", "original_size", (64, 64)),
        ("sd3", "refiner", RefinerParameter()),
        ("xl-refiner", "prompt_2", "a house"),
        ("xl-refiner", "refiner", RefinerParameter()),
    ],
)
def test_what_a_model_does_not_take_is_refused(
    validation: Validated, model: str, field: str, value: Any
) -> None:
    error = refusal(validation, model, **{field: value})
    assert (error.code, error.field) == (ErrorCode.OUT_OF_RANGE, field)
    assert error.message.startswith(f"{field} must be absent for {model}, a model of the family ")


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("guidance_rescale", 1.1, "must be at least 0 and at most 1, got 1.1"),
        ("prompt_2", "x" * 2001, "must be at most 2000 characters long, got 2001"),
        ("original_size", (1, 2, 3), "must be two integers, got 3"),
        ("original_size", (0, 64), "must be two integers, each at least 1 and at most 8192, got 0"),
        ("crop", (-1, 64), "must be two integers, each at least 0 and at most 8192, got -1 and 64"),
        ("crop", (), "must be two integers, got 0"),
        ("skip_layers", (0, 128), "must be integers, each at least 0 and at most 127, got 128"),
        ("skip_layers", (1,) * 129, "must be at most 128 elements long, got 129"),
        ("skip_layer_scale", 31, "must be at least 0 and at most 30, got 31"),
        ("skip_layer_end", 1.5, "must be at least 0 and at most 1, got 1.5"),
        ("prompt_3", "x" * 2001, "must be at most 2000 characters long, got 2001"),
        ("refiner.switch_at", 0.0, "must be above 0 and below 1, got 0.0"),
        ("refiner.switch_at", 1, "must be above 0 and below 1, got 1"),
        ("refiner.aesthetic_score", 10.5, "must be at least 0 and at most 10, got 10.5"),
    ],
)
def test_ranges(validation: Validated, field: str, value: Any, sentence: str) -> None:
    name, _, inner = field.partition(".")
    fields = {name: RefinerParameter(**{inner: value}) if inner else value}
    error = refusal(validation, "xl", **fields)
    assert (error.code, error.field) == (ErrorCode.OUT_OF_RANGE, field)
    assert error.message.startswith(f"{field} {sentence}")


@pytest.mark.parametrize("scheduler", ["heun", "pndm"])
def test_schedulers_that_two_models_cannot_share(validation: Validated, scheduler: str) -> None:
    error = refusal(validation, "xl", scheduler=scheduler, refiner=RefinerParameter())
    assert (error.code, error.field) == (ErrorCode.OUT_OF_RANGE, "scheduler")
    assert error.message.endswith(f'with a refiner, got "{scheduler}"')


@pytest.mark.parametrize(
    ("model", "refiner"), [("xl-tuned", None), ("xl", "sd"), ("xl", "xl-tuned"), ("xl", "none")]
)
def test_refiners_that_there_are_not(
    validation: Validated, model: str, refiner: str | None
) -> None:
    error = refusal(validation, model, refiner=RefinerParameter(model=refiner))
    assert (error.code, error.field) == (ErrorCode.NOT_FOUND, "refiner.model")
    assert "which are xl-refiner, xl-refiner-2; got " in error.message


def test_a_refiner_that_is_not_served(backend: ColourBackend, validation: Validated) -> None:
    backend.models = (XL,)
    error = refusal(validation, "xl", refiner=RefinerParameter())
    assert (error.code, error.field) == (ErrorCode.NOT_FOUND, "refiner.model")
    assert error.message.endswith('which are none; got "xl-refiner"')


@pytest.mark.parametrize("field", ["negative_prompt_2", "negative_prompt_3"])
def test_a_further_negative_prompt_needs_a_first_one(validation: Validated, field: str) -> None:
    error = refusal(validation, "sd3", **{field: "a"})
    assert (error.code, error.field) == (ErrorCode.INVALID_REQUEST, field)


def test_over_http(client: TestClient, backend: ColourBackend) -> None:
    body: dict[str, Any] = {
        "prompt": "x",
        "model": "xl",
        "original_size": [64, 96],
        "refiner": {"switch_at": 0.6, "aesthetic_score": 7},
    }
    assert client.post("/txt2img", json=body).status_code == 200
    assert client.post("/txt2img", json={**body, "negative_prompt": ""}).status_code == 200
    first, second = backend.requests
    assert first.segments == (Segment("xl", 0.0, 0.6), Segment("xl-refiner", 0.6, 1.0))
    assert (first.original_size, first.aesthetic_score) == ((64, 96), 7)
    assert (first.negative_prompt, second.negative_prompt) == (None, "")


@pytest.mark.parametrize(
    ("changes", "status", "field", "message"),
    [
        ({"model": "sd", "prompt_2": "a"}, 422, "prompt_2", "prompt_2 must be absent for sd"),
        ({"original_size": [1.5, 2]}, 400, "original_size.0", "must be an integer, not 1.5"),
        ({"model": "sd3", "skip_layers": [1.5]}, 400, "skip_layers.0", "must be an integer"),
        ({"model": "sd3", "skip_layers": 3}, 400, "skip_layers", "must be an array, not 3"),
        ({"model": "sd3", "scheduler": "ddim"}, 422, "scheduler", "one of euler, heun"),
        ({"model": "sd3", "width": 72}, 422, "width", "must be a multiple of 16, got 72"),
        ({"width": 68}, 422, "width", "must be a multiple of 8, got 68"),
        (
            {"model": "xl-tuned", "refiner": {}},
            404,
            "refiner.model",
            "xl-refiner, xl-refiner-2; got",
        ),
        ({"original_size": 3}, 400, "original_size", "must be an array, not 3"),
        ({"refiner": "xl-refiner"}, 400, "refiner", "refiner must be a JSON object"),
        ({"refiner": {"switch": 1}}, 400, "refiner.switch", "the fields are model, switch_at"),
        ({"refiner": {"switch_at": 2}}, 422, "refiner.switch_at", "below 1, got 2"),
        ({"refiner": {"model": "no"}}, 404, "refiner.model", 'got "no"'),
    ],
)
def test_mistakes_over_http(
    client: TestClient, changes: dict[str, Any], status: int, field: str, message: str
) -> None:
    response = client.post("/txt2img", json={"prompt": "x", "model": "xl", **changes})
    assert response.status_code == status
    error = error_of(response)
    assert error["field"] == field
    assert message in error["message"]


def test_the_list_of_models_says_what_they_take(client: TestClient) -> None:
    models = {model["name"]: model for model in client.get("/models").json()["models"]}
    assert models["sd"]["fields"] == ["guidance_rescale"]
    assert "aesthetic_score" in models["xl-refiner"]["fields"]
    assert (models["xl"]["refiner"], models["xl-tuned"]["refiner"]) == ("xl-refiner", None)
    assert "refiner" not in models["xl-inpainter"]["fields"]


def test_the_list_of_models_has_the_defaults_that_apply(client: TestClient) -> None:
    listed = client.get("/models").json()["models"]
    skipping = {each["name"]: each["defaults"].get("skip_layers") for each in listed}
    assert skipping == {
        each["name"]: [7, 8, 9] if each["name"] == "sd3" else None for each in listed
    }
    assert all("guidance_scale" in each["defaults"] for each in listed)
