"""Validated of prompt templates."""

from __future__ import annotations

import pytest
from dynamicprompts.wildcards.values import WildcardValues

from api.served_models import ServedModels
from contract.errors import ErrorCode, RequestError
from settings import Settings
from templating.wildcards import Wildcards
from tests import uploads
from tests.unit.api.conftest import ColourBackend
from tests.unit.api.parameters import img2img, txt2img
from tests.unit.api.validated import Validated

PICTURE = uploads.encode(uploads.red_and_blue())


def test_a_template_is_expanded_for_each_picture(validation: Validated) -> None:
    template = "a {red|green|blue} {2$$apple|pear|plum}"
    parameters = txt2img(prompt=template, expand_prompt=True, num_images=8, seed=40)
    request = validation.request(parameters, "r")

    assert len(set(request.prompts)) > 1
    assert request.prompt == request.prompts[0]
    for index, prompt in enumerate(request.prompts):
        alone = validation.request(
            img2img(PICTURE, prompt=template, expand_prompt=True, seed=40 + index), "r"
        )
        assert alone.prompts == (prompt,) == (alone.prompt,)


@pytest.mark.parametrize("expand", [None, False])
def test_braces_are_text_unless_asked_otherwise(validation: Validated, expand: bool | None) -> None:
    parameters = txt2img(prompt="a {red|green} __apple__ {", expand_prompt=expand)
    request = validation.request(parameters, "r")

    assert request.prompt == "a {red|green} __apple__ {"
    assert request.prompts == ()


def test_the_negative_prompt_is_not_expanded(validation: Validated) -> None:
    parameters = txt2img(prompt="{a|a}", negative_prompt="{b|c}", expand_prompt=True)
    assert validation.request(parameters, "r").negative_prompt == "{b|c}"


def test_what_a_template_becomes_is_limited_too(settings: Settings, backend: ColourBackend) -> None:
    wildcards = Wildcards({"long": WildcardValues.from_items(["x" * 1_001])})
    validation = Validated(settings, ServedModels(backend, settings), wildcards)
    validation.request(txt2img(prompt="__long__", expand_prompt=True), "r")

    with pytest.raises(RequestError) as refused:
        validation.request(txt2img(prompt="__long____long__", expand_prompt=True), "r")
    assert (refused.value.code, refused.value.field) == (ErrorCode.OUT_OF_RANGE, "prompt")
    assert refused.value.message == (
        "prompt must be at most 2000 characters long once it is expanded, got 2002"
    )
