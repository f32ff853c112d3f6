"""Texts in picture files, and parameters as text."""

from __future__ import annotations

import zlib
from io import BytesIO

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from PIL.PngImagePlugin import PngInfo

from api.protocols.a1111.file_texts import MAX_TEXT, read, with_parameters
from api.protocols.a1111.infotext import parse
from contract.errors import RequestError
from contract.request import OutputFormat
from engine.stages.image_file import encode
from tests import uploads, webui_files
from tests.conftest import make_request
from tests.effort import effort

PICTURE = PIL.Image.new("RGB", (64, 64))
# As the web UI writes them.
THEIRS = """\
girl, (hat:1.2), <lora:clay:0.8>
second line
Negative prompt: ugly, [blurry]
deformed
Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 965400086, \
Size: 512x768, Model hash: 45dee52b, Model: v1-5, Lora hashes: "clay: 12ab, ink: 3", \
Version: v1.10.1"""


def test_ours_in_each_format() -> None:
    for file_format in OutputFormat:
        request = make_request(
            prompt="a, b: c\nSteps: 3", negative_prompt="ünï \U0001f34e", output_format=file_format
        )
        texts = read("image", encode(PICTURE, request))

        fields = parse(texts["parameters"])
        assert fields["Prompt"] == request.prompt
        assert fields["Negative prompt"] == request.negative_prompt
        assert (fields["Steps"], fields["Seed"], fields["Sampler"]) == ("8", "7", "ddim")
        assert (fields["Size-1"], fields["Size-2"]) == ("64", "64")


def test_theirs() -> None:
    fields = parse(THEIRS)

    assert fields["Prompt"] == "girl, (hat:1.2), <lora:clay:0.8>\nsecond line"
    assert fields["Negative prompt"] == "ugly, [blurry]\ndeformed"
    assert fields["Lora hashes"] == "clay: 12ab, ink: 3"
    assert (fields["Sampler"], fields["Schedule type"]) == ("DPM++ 2M", "Karras")
    assert fields.keys() >= {"Steps", "CFG scale", "Seed", "Model", "Version", "Size-1"}
    assert parse("just, a prompt: with a colon") == {
        "Prompt": "just, a prompt: with a colon",
        "Negative prompt": "",
    }
    assert parse("") == {}


@pytest.mark.parametrize("text", [THEIRS, f"\u6797\u6a8e {THEIRS}"])
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_theirs_in_each_format(file_format: str, text: str) -> None:
    assert read("image", webui_files.saved(PICTURE, file_format, text)) == {"parameters": text}


@pytest.mark.parametrize(("kind", "packed"), [("text", False), ("text", True), ("itxt", True)])
def test_any_kind_of_text_chunk(kind: str, packed: bool) -> None:
    texts = PngInfo()
    add = texts.add_text if kind == "text" else texts.add_itxt
    add("parameters", "ünï", zip=packed)
    add("Software", "x", zip=packed)

    found = read("image", uploads.encode(PICTURE, pnginfo=texts))
    assert found == {"parameters": "ünï", "Software": "x"}


@pytest.mark.parametrize("text", ["a\nSteps: 3", "ünï", "\U0001f34e 中"])
def test_other_parameters(text: str) -> None:
    file = with_parameters(encode(PICTURE, make_request(negative_prompt="\U0001f34e")), text)

    picture = PIL.Image.open(BytesIO(file))
    picture.load()
    assert picture.info["parameters"] == text
    assert file.count(b"parameters\0") == 1
    assert read("image", file) == {"parameters": text}


def test_what_is_no_picture_or_has_too_much_text() -> None:
    with pytest.raises(RequestError, match="image must be a picture in one of the formats PNG"):
        read("image", b"GIF89a")
    texts = PngInfo()
    texts.add_text("parameters", "x" * (MAX_TEXT + 1), zip=True)
    with pytest.raises(RequestError, match=f"image must have at most {MAX_TEXT} characters"):
        read("image", uploads.encode(PICTURE, pnginfo=texts))


FILES = [
    encode(PICTURE, make_request(prompt="ünï \U0001f34e", output_format=file_format))
    for file_format in OutputFormat
]
EVIL = uploads.png(1, 1, zlib.compress(b"\0\0\0\0"), b"\xff\xff\xff\xfftEXtparameters\0")


@bounded(max_examples=effort(100, 2000), deadline=None)
@given(st.sampled_from([*FILES, EVIL]), st.data())
def test_a_broken_file_has_the_texts_that_can_be_found(file: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(file)))
    broken = file[:place] + data.draw(st.binary(max_size=16)) + file[place + 8 :]
    try:
        texts = read("image", broken)
    except RequestError:
        return
    assert all(isinstance(value, str) for value in parse(texts.get("parameters", "")).values())


@bounded(max_examples=effort(100, 2000), deadline=None)
@given(st.text(st.sampled_from('ab:, "\\\n1x'), max_size=60))
def test_any_text_has_fields(text: str) -> None:
    assert all(isinstance(value, str) for value in parse(text).values())
