"""The parameters in the files, as a reader of the AUTOMATIC1111 convention has them."""

from __future__ import annotations

import itertools
import json
from io import BytesIO
from typing import Any

import PIL.Image
import pytest
from sd_parsers import ParserManager
from transformers import CLIPTokenizer

from contract.request import OutputFormat
from engine.stages.image_file import encode
from tests.conftest import ROOT, make_request

# sd-parsers remembers the last picture by its address, which a later one may have.
_ALIVE: list[PIL.Image.Image] = []

PICTURE = PIL.Image.new("RGB", (64, 64))
IMITATIONS = [
    "a\nNegative prompt: evil",
    "a Negative prompt: evil, Negative prompt: worse",
    "a\nSteps: 1, Sampler: evil, CFG scale: 99, Seed: 666, Size: 1x1",
    'Steps: 1, Sampler: evil, CFG scale: 99, Seed: 666, Hashes: {"model": "evil"}\nSteps: 2',
]
PLAIN = ["a", "a\nb", "", "ünï \U0001f34e", 'a "b", c: d\\', "(Steps, prompt:1.3)"]
CONTROLS = ["a\0b", "a\x1b[31mb", "a\r\nb\tc", "a\u2028b\x85c", "\0, Seed: 666"]


def read(prompt: str, negative_prompt: str, file_format: OutputFormat) -> Any:
    request = make_request(
        prompt=prompt, negative_prompt=negative_prompt, output_format=file_format
    )
    picture = PIL.Image.open(BytesIO(encode(PICTURE, request)))
    _ALIVE.append(picture)
    return ParserManager().parse(picture)


@pytest.mark.parametrize("file_format", OutputFormat)
def test_a_reader_finds_what_was_used(file_format: OutputFormat) -> None:
    prompts = [*IMITATIONS, *PLAIN, *CONTROLS]
    for prompt, negative in itertools.product(prompts, prompts):
        info = read(prompt, negative, file_format)

        (sampler,) = info.samplers
        assert sampler.name == "ddim"
        assert sampler.parameters == {"cfg_scale": "3.0", "seed": "7", "steps": "8"}
        assert sampler.model.name == "embedded"
        for text, found, name in (
            (prompt, sampler.prompts, "Exact prompt"),
            (negative, sampler.negative_prompts, "Exact negative prompt"),
        ):
            shown = "".join(one.value for one in found)
            if text in PLAIN:
                assert shown == text
                assert name not in info.metadata
            else:
                assert shown.split() == visible(text).split()
                assert json.loads(info.metadata[name]) == text


def visible(text: str) -> str:
    spaced = "".join(" " if char < " " or "\x7f" <= char < "\xa0" else char for char in text)
    return spaced.replace("Negative prompt:", "Negative prompt :").replace("Steps:", "Steps :")


@pytest.mark.parametrize("prompt", IMITATIONS)
def test_what_is_shown_makes_the_same_picture(prompt: str) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(ROOT / "models" / "embedded" / "tokenizer")
    (sampler,) = read(prompt, "", OutputFormat.PNG).samplers
    (shown,) = sampler.prompts

    assert tokenizer(shown.value).input_ids == tokenizer(prompt).input_ids


@pytest.mark.parametrize("file_format", OutputFormat)
@pytest.mark.parametrize("character", ["\0", "\U0001f34e", ",", "\\"])
def test_there_is_room_for_the_longest_prompts(file_format: OutputFormat, character: str) -> None:
    prompt = "\0" + character * 1_999
    info = read(prompt, prompt, file_format)
    assert json.loads(info.metadata["Exact negative prompt"]) == prompt


def test_a_text_chunk_has_no_nul() -> None:
    file = encode(PICTURE, make_request(prompt="a\0b", negative_prompt="\U0001f34e\0"))
    picture = PIL.Image.open(BytesIO(file))
    assert "\0" not in picture.info["parameters"]
    assert file.count(b"parameters\0") == 1


def test_parameters_that_a_jpeg_has_no_room_for_are_left_out() -> None:
    request = make_request(prompt="x" * 40_000, output_format=OutputFormat.JPEG)
    picture = PIL.Image.open(BytesIO(encode(PICTURE, request)))
    assert picture.size == (64, 64)
    assert not picture.getexif()


@pytest.mark.parametrize("file_format", OutputFormat)
def test_a_file_may_be_smaller(file_format: OutputFormat) -> None:
    noise = PIL.Image.effect_noise((64, 64), 80).convert("RGB")
    sizes = [
        len(encode(noise, make_request(output_format=file_format, output_quality=quality)))
        for quality in (0, None, 100)
    ]

    if file_format is OutputFormat.PNG:
        assert sizes == [sizes[0]] * 3
    else:
        assert sizes[0] < sizes[1] / 2 < sizes[2] / 2
