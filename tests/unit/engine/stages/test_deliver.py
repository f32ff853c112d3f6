"""What clients get: files, previews."""

from __future__ import annotations

from io import BytesIO

import PIL.Image
import pytest

from contract.events import Progress
from contract.request import OutputFormat
from engine.engine import Engine
from tests.conftest import make_request
from tests.unit.engine.conftest import Client


@pytest.mark.parametrize("output_format", list(OutputFormat))
def test_the_file_carries_its_parameters(engine: Engine, output_format: OutputFormat) -> None:
    request = make_request(
        prompt="a ☃ snowman", negative_prompt="a cat", output_format=output_format
    )
    image = Client(engine, request).image()
    picture = PIL.Image.open(BytesIO(image.data))
    assert picture.format == output_format.name
    assert image.media_type == f"image/{output_format.value}"
    if output_format is OutputFormat.PNG:
        text = picture.info["parameters"]
    else:
        comment = picture.getexif().get_ifd(0x8769)[0x9286]
        assert comment.startswith(b"UNICODE\0")
        text = comment[8:].decode("utf-16-be")
    assert text == (
        "a ☃ snowman\nNegative prompt: a cat\n"
        "Steps: 8, Sampler: ddim, CFG scale: 3.0, Seed: 7, Size: 64x64, Model: embedded"
    )


def test_previews_look_like_what_becomes_of_them(engine: Engine) -> None:
    client = Client(engine, make_request(num_inference_steps=30, wants_previews=True))
    final = PIL.Image.open(BytesIO(client.image().data))
    progress = [event for event in client.events if isinstance(event, Progress)]
    assert progress
    previews = [event.preview for event in progress if event.preview is not None]
    assert len(previews) >= len(progress) - 1
    preview = PIL.Image.open(BytesIO(previews[-1]))
    assert preview.format == "PNG"
    assert preview.size == (16, 16)
    assert preview.mode == final.mode == "RGB"
