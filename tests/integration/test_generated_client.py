"""A client generated from the OpenAPI document: the generator knows nothing else."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from tests import uploads
from tests.integration.server import WAIT_SECONDS, Server

pytestmark = pytest.mark.slow

PACKAGE = "generated_client"
PICTURE = uploads.encode(uploads.red_and_blue())


@pytest.fixture(scope="module")
def generated(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """Generates the client, without a warning; what it returns imports one of its modules."""
    folder = tmp_path_factory.mktemp("client")
    tools = Path(sys.executable).parent
    result = subprocess.run(
        [
            *(tools / "openapi-python-client", "generate", "--url", f"{server.url}/docs.json"),
            *("--output-path", folder / PACKAGE, "--meta", "none", "--fail-on-warning"),
        ],
        cwd=folder,
        # It calls ruff.
        env={**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr

    def load(name: str) -> Any:
        sys.path.insert(0, str(folder))
        try:
            return importlib.import_module(f"{PACKAGE}.{name}")
        finally:
            sys.path.remove(str(folder))

    return load


@pytest.fixture
def client(generated: Callable[[str], Any], server: Server) -> Any:
    return generated("client").Client(server.url, timeout=WAIT_SECONDS)


@pytest.fixture
def models(generated: Callable[[str], Any]) -> Any:
    return generated("models")


@pytest.fixture
def upload(generated: Callable[[str], Any]) -> Callable[[], Any]:
    file = generated("types").File
    return lambda: file(BytesIO(PICTURE), "in.png", "image/png")


def size(answer: Any) -> tuple[int, int]:
    """The size of a picture that the client returned."""
    picture = PIL.Image.open(answer.payload)
    picture.load()
    return picture.size


def test_txt2img(generated: Callable[[str], Any], client: Any, models: Any) -> None:
    operation = generated("api.pictures.txt2img")
    body = models.Txt2ImgBody(prompt="a red apple", num_inference_steps=2, width=72, height=64)
    assert size(operation.sync(client=client, body=body)) == (72, 64)

    body.num_images = 2
    answer = operation.sync_detailed(client=client, body=body)
    assert answer.headers["content-type"] == "application/json"
    pictures = models.GeneratedImages.from_dict(json.loads(answer.content))
    assert [one.index for one in pictures.images] == [0, 1]
    # What is parsed is a file, whatever the answer was.
    assert answer.parsed.payload.read() == answer.content


def test_forms(
    generated: Callable[[str], Any], client: Any, models: Any, upload: Callable[[], Any]
) -> None:
    fields = {"prompt": "x", "num_inference_steps": 2, "width": 64, "height": 72}
    form = models.Img2ImgForm(img=upload(), data=models.Img2ImgBody(**fields))
    assert size(generated("api.pictures.img2img").sync(client=client, body=form)) == (64, 72)

    data = models.InpaintBody(**fields)
    form = models.InpaintForm(img=upload(), mask=upload(), data=data)
    assert size(generated("api.pictures.inpaint").sync(client=client, body=form)) == (64, 72)

    form = models.ClassifyForm(img=upload())
    predictions = generated("api.pictures.classify").sync(client=client, body=form, top_k=2)
    assert isinstance(predictions, models.Predictions)
    assert len(predictions.predictions) == 2


def test_parameters_in_the_url(generated: Callable[[str], Any], client: Any) -> None:
    for name in ("dreambooth", "dreambooth_get", "imagine"):
        operation = generated(f"api.pictures.{name}")
        assert size(operation.sync(client=client, prompt="x", img_size=72)) == (72, 72)


def test_the_words_of_openai(
    generated: Callable[[str], Any], client: Any, models: Any, upload: Callable[[], Any]
) -> None:
    fields = {"prompt": "x", "num_inference_steps": 2, "size": "64x72"}
    operation = generated("api.open_ai.images_generations")
    made = operation.sync(client=client, body=models.ImageGeneration(**fields, n=2))
    assert isinstance(made, models.ImagesResponse)
    assert [made.size, len(made.data)] == ["64x72", 2]

    edits = generated("api.open_ai.images_edits")
    form = models.ImageEditForm(image=upload(), stream=False, **fields)
    assert edits.sync(client=client, body=form).size == "64x72"
    refused = edits.sync(client=client, body=models.ImageEditReferences(images=[], **fields))
    assert isinstance(refused, models.OpenAIError)
    assert refused.error.param == "images"


def test_models(generated: Callable[[str], Any], client: Any, models: Any) -> None:
    listed = generated("api.models.models").sync(client=client)

    assert isinstance(listed, models.ModelList)
    assert listed.models[0].name == "embedded"


def test_the_web_ui(generated: Callable[[str], Any], client: Any, models: Any) -> None:
    body = models.WebUITxt2Img(prompt="x", steps=2, width=72, height=64, batch_size=2)
    made = generated("api.automatic1111.sdapi_txt2img").sync(client=client, body=body)
    assert isinstance(made, models.GenerationResponse)
    assert len(made.images) == len(json.loads(made.info)["infotexts"]) == 2

    listed = generated("api.automatic1111.sdapi_sd_models").sync(client=client)
    assert [one.title for one in listed] == ["embedded"]


def test_errors_have_their_type(generated: Callable[[str], Any], client: Any, models: Any) -> None:
    body = models.Txt2ImgBody(prompt="x", width=100)
    answer = generated("api.pictures.txt2img").sync_detailed(client=client, body=body)

    assert answer.status_code == 422
    assert isinstance(answer.parsed, models.ErrorBody)
    assert answer.parsed.error.code == models.ErrorCode.OUT_OF_RANGE
    assert answer.parsed.error.field == "width"
