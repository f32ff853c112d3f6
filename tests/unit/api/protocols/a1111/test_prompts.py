"""Prompts in the web UI's syntax."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st

from api.parameters import LoraParameter
from api.protocols.a1111.prompts import MAX_BRACKETS, understand
from contract.errors import RequestError
from engine.pipelines import prompt_syntax
from tests.effort import effort

SYNTAX = "()[]\\<>:|"


@pytest.mark.parametrize(
    ("written", "fragments"),
    [
        ("a red apple", [("a red apple", 1)]),
        ("(a)", [("a", 1.1)]),
        ("((a)), b", [("a", 1.21), (", b", 1)]),
        ("[a]", [("a", 1 / 1.1)]),
        ("[[a]]", [("a", 1 / 1.21)]),
        ("(a:1.3) b", [("a", 1.3), (" b", 1)]),
        ("(a (b) c:1.2)", [("a ", 1.2), ("b", 1.32), (" c", 1.2)]),
        ("[(a:1.2)]", [("a", 1.2 / 1.1)]),
        ("(a:b:0.5)", [("a:b", 0.5)]),
        ("(a : 1.2 )", [("a ", 1.2)]),
        (r"a \(b\) \[c\]", [("a (b) [c]", 1)]),
        (r"(a \(b\):1.2)", [("a (b)", 1.2)]),
        ("a)", [("a)", 1)]),
        # There, too, what is not closed ends with the prompt.
        ("a (b", [("a ", 1), ("b", 1.1)]),
        ("C:\\ (b)", [("C:\\ ", 1), ("b", 1.1)]),
        ("C:\\(b)", [("C:(b)", 1)]),
        ("[a:b:0.5]", [("[a:b:0.5]", 1)]),
        ("([a|b])", [("[a|b]", 1.1)]),
        ("a: b, 12:30", [("a: b, 12:30", 1)]),
    ],
)
def test_the_weights_are_those_of_the_web_ui(
    written: str, fragments: list[tuple[str, float]]
) -> None:
    found, clamped = prompt_syntax.parse(understand("prompt", written).text)

    assert not clamped
    assert [text for text, _ in found] == [text for text, _ in fragments]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in fragments])


@pytest.mark.parametrize(
    ("written", "loras", "text"),
    [
        ("a <lora:clay:0.8>b", [("clay", 0.8)], "a b"),
        ("<lora:clay>", [("clay", 1.0)], ""),
        ("<lora:a:1><lyco:b:-0.5> x", [("a", 1.0), ("b", -0.5)], " x"),
        ("<lora:a:0.5:0.5>", [("a", 0.5)], ""),
        ("<lora:a:unet=0.8>", [("a", 0.8)], ""),
        ("a < b > c", [], "a < b > c"),
    ],
)
def test_loras(written: str, loras: list[tuple[str, float]], text: str) -> None:
    prompt = understand("prompt", written)

    assert prompt.loras == tuple(LoraParameter(name, scale) for name, scale in loras)
    assert (prompt.text, prompt.notes) == (text, ())
    # Of a negative prompt, they are text.
    assert understand("negative_prompt", written, networks=False).loras == ()


@pytest.mark.parametrize(
    ("written", "text", "note"),
    [
        ("[a:b:0.5]", "[a:b:0.5]", '"[a:b:0.5]" stands in the prompt'),
        ("[a:0.5]", "[a:0.5]", '"[a:0.5]" stands in the prompt'),
        ("[a::5]", "[a::5]", '"[a::5]" stands in the prompt'),
        ("[a|b]", "[a|b]", '"[a|b]" stands in the prompt'),
        ("a AND b", "a AND b", "AND stands in the prompt"),
        ("a BREAK b", "a   b", "BREAK is left out"),
        ("a<hypernet:b:1>", "a", '"<hypernet:b:1>" is left out'),
        ("<lora:a:0.5:0.9>", "", '"<lora:a:0.5:0.9>" has one scale'),
        ("<lora:a:te=0.5:unet=0.8>", "", '"<lora:a:te=0.5:unet=0.8>" has one scale'),
    ],
)
def test_what_has_no_counterpart_is_reported(written: str, text: str, note: str) -> None:
    prompt = understand("prompt", written)

    assert prompt.text == text
    (found,) = prompt.notes
    assert found.startswith(note)


@pytest.mark.parametrize("written", ["<lora::1>", "<lora:a:x>", "<lora:a:inf>", "<lora:a:nan>"])
def test_a_lora_without_a_name_or_a_number(written: str) -> None:
    with pytest.raises(RequestError, match=r"prompt must name a LoRA as <lora:name:scale>"):
        understand("prompt", written)


def test_brackets_are_bounded() -> None:
    assert understand("prompt", "(" * MAX_BRACKETS).text == ""
    with pytest.raises(RequestError, match=r"prompt must have at most 500 brackets, got 501"):
        understand("prompt", "(" * (MAX_BRACKETS + 1))


@bounded(max_examples=effort(200, 5000), deadline=None)
@given(st.text(st.sampled_from(SYNTAX + "ab1. "), max_size=60))
def test_any_prompt_is_understood_or_refused_in_a_sentence(written: str) -> None:
    try:
        prompt = understand("prompt", written)
    except RequestError:
        return
    found, _ = prompt_syntax.parse(prompt.text)
    if "<" not in written:
        # No word is lost, and none is made up.
        words = "".join(text for text, _ in found)
        assert re.sub(r"[^ab]", "", words) == re.sub(r"[^ab]", "", written)
    assert all(0 <= weight <= prompt_syntax.MAX_WEIGHT for _, weight in found)


@bounded(max_examples=effort(50, 1000), deadline=None)
@given(st.text(st.sampled_from("aB1:|{}>,. é\n中AND"), max_size=60))
def test_plain_text_stays_as_it_is(written: str) -> None:
    assert understand("prompt", written).text == written
