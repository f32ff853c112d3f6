"""Long and weighted prompts; and plain ones, which must stay what the stock pipeline makes."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable
from typing import Any

import pytest
import torch

from engine.pipelines.prompt_syntax import Fragment, parse
from engine.pipelines.prompts import (
    CACHED_TOKENS,
    ENCODER_ROWS,
    MAX_CHUNKS,
    PromptEncoder,
    pad_to_longest,
)
from tests.unit.models import tiny

WORDS = ["a", "red", "apple", "on", "the", "blue", "background,", "two", "green", "frogs."]


@pytest.fixture(scope="module")
def pipeline() -> Any:
    """Random weights: here every token makes a difference."""
    return tiny.stable_diffusion()


@pytest.fixture
def encoder(pipeline: Any) -> PromptEncoder:
    return PromptEncoder(pipeline.tokenizer, pipeline.text_encoder)


class Calls:
    """How many rows the text encoder has seen, call by call."""

    def __init__(self, pipeline: Any) -> None:
        self.rows: list[int] = []
        self._handle = pipeline.text_encoder.register_forward_pre_hook(
            lambda module, arguments: self.rows.append(len(arguments[0]))
        )

    def close(self) -> None:
        self._handle.remove()


@pytest.fixture
def calls(pipeline: Any) -> Iterable[Calls]:
    calls = Calls(pipeline)
    yield calls
    calls.close()


def long_text(words: int) -> str:
    return " ".join(WORDS[i % len(WORDS)] for i in range(words))


@pytest.mark.parametrize(
    ("prompt", "fragments"),
    [
        ("a cat", [("a cat", 1)]),
        ("a (cat:1.3), sitting", [("a ", 1), ("cat", 1.3), (", sitting", 1)]),
        ("(a big: cat:.5)", [("a big: cat", 0.5)]),
        ("(a: 1. )b", [("ab", 1)]),
        ("((a:1.2) b:1.1)", [("a", 1.2 * 1.1), (" b", 1.1)]),
        ("((a:1.2):1.1)", [("a", 1.2 * 1.1)]),
        ("((a):1.2)", [("(a)", 1.2)]),
        (r"(\(a\):1.2)", [("(a)", 1.2)]),
        # Nothing but text.
        ("a (cat)", [("a (cat)", 1)]),
        ("((a))", [("((a))", 1)]),
        ("a++ (b)- .and()", [("a++ (b)- .and()", 1)]),
        ("[a:1.2] {b}", [("[a:1.2] {b}", 1)]),
        (r"\(a:1.2\)", [("(a:1.2)", 1)]),
        ("(a:1.2", [("(a:1.2", 1)]),
        ("a:1.2)", [("a:1.2)", 1)]),
        ("(see: note)", [("(see: note)", 1)]),
        ("(a:nan) (b:inf)", [("(a:nan) (b:inf)", 1)]),
        ("((a:1.3:1))", [("(a:1.3)", 1)]),
        ("(:3)", [("(:3)", 1)]),
        ("( :1.2)", [("( :1.2)", 1)]),
        ("\\", [("\\", 1)]),
        ("", []),
    ],
)
def test_parsing(prompt: str, fragments: list[tuple[str, float]]) -> None:
    found, clamped = parse(prompt)
    assert [tuple(each) for each in found] == [(text, pytest.approx(w)) for text, w in fragments]
    assert clamped == []


@pytest.mark.parametrize(
    ("prompt", "weight", "clamped"),
    [
        ("(a:2.5)", 2, ["2.5"]),
        ("(a:-1)", 0, ["-1"]),
        ("(a:1e9)", 2, ["1e9"]),
        ("(a:1e999)", 2, ["1e999"]),
        ("((a:1.9):1.9)", 2, ["1.9"]),
    ],
)
def test_weights_out_of_range(prompt: str, weight: float, clamped: list[str]) -> None:
    assert parse(prompt) == ([Fragment("a", weight)], clamped)


@pytest.mark.parametrize(
    "middle",
    [
        ":" + "1" * 30_000 + "x",
        ":1." + "1" * 30_000 + "x",
        ":1e" + "1" * 30_000 + "x",
        ":" * 30_000,
        ":" * 30_000 + " " * 30_000,
        ": " * 30_000 + "x",
    ],
    ids=["digits", "decimals", "exponent", "colons", "colons, spaces", "colon-space"],
)
def test_nests_around_what_is_almost_a_weight_are_plain(middle: str) -> None:
    """Looking at the whole text once for each bracket would take minutes, or days."""
    prompt = "(" * 10_000 + middle + ")" * 10_000
    assert parse(prompt) == ([Fragment(prompt, 1.0)], [])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a red apple on a blue background",
        "Two  GREEN\n frogs!!! (really)",
        "a house + a ++ .and() [b:2] ☃ ünïcødé",
        "a <|endoftext|> b <|endoftext|>",
        long_text(50)[:-1] + " it's",
    ],
)
@pytest.mark.parametrize("pad_token", ["<|endoftext|>", "!</w>"], ids=["sd1", "sd2"])
def test_a_plain_prompt_is_the_stock_pipelines(pipeline: Any, text: str, pad_token: str) -> None:
    """Stable Diffusion 2 pads with another token than 1."""
    tokenizer = tiny.tokenizer()
    tokenizer.pad_token = pad_token
    pipeline = type(pipeline)(
        **{**pipeline.components, "tokenizer": tokenizer}, requires_safety_checker=False
    )
    encoder = PromptEncoder(tokenizer, pipeline.text_encoder, batch_invariant=True)
    expected = pipeline.encode_prompt(text, torch.device("cpu"), 1, False)[0]
    encoded = encoder.encode([text])[text]
    assert expected.shape[1] == 77
    assert torch.equal(encoded.embeds, expected)
    assert encoded.warnings == ()


def test_an_encoder_that_wants_a_mask_gets_it(pipeline: Any) -> None:
    config = pipeline.text_encoder.config
    encoder = PromptEncoder(pipeline.tokenizer, pipeline.text_encoder, batch_invariant=True)
    plain = encoder.encode(["a cat"])["a cat"].embeds
    config.use_attention_mask = True
    try:
        expected = pipeline.encode_prompt("a cat", torch.device("cpu"), 1, False)[0]
        masking = PromptEncoder(pipeline.tokenizer, pipeline.text_encoder, batch_invariant=True)
        assert torch.equal(masking.encode(["a cat"])["a cat"].embeds, expected)
        assert not torch.equal(expected, plain)
    finally:
        del config.use_attention_mask


def test_new_texts_are_encoded_in_one_call(encoder: PromptEncoder, calls: Calls) -> None:
    texts = ["a cat", long_text(150), "a (frog:1.2) (cat:0.5)", "a cat"]
    prompts = encoder.encode(texts)
    chunks = prompts[texts[1]].embeds.shape[1] // 77
    assert chunks >= 2
    # And the empty text.
    assert calls.rows == [1 + 1 + chunks + 1]
    assert torch.equal(encoder.encode(texts)["a cat"].embeds, prompts["a cat"].embeds)
    encoder.encode([*texts, "a dog"])
    assert calls.rows[1:] == [1]


def test_the_memory_for_texts_is_bounded(encoder: PromptEncoder, calls: Calls) -> None:
    texts = [f"number {number}" for number in range(CACHED_TOKENS // 77 + 10)]
    prompts = encoder.encode(texts)
    assert max(calls.rows) <= ENCODER_ROWS
    calls.rows.clear()
    # The latest are still there; the first and, with them, the empty text are not.
    encoder.encode([texts[-1]])
    assert calls.rows == [1]
    calls.rows.clear()
    again = encoder.encode([texts[0]])
    assert calls.rows == [1]
    assert torch.allclose(again[texts[0]].embeds, prompts[texts[0]].embeds, atol=1e-5)


def test_singly_what_comes_before_changes_no_bit(pipeline: Any) -> None:
    texts = ["a cat", "a (red:1.4) frog", long_text(120)]

    def encoded(*groups: list[str]) -> list[torch.Tensor]:
        encoder = PromptEncoder(pipeline.tokenizer, pipeline.text_encoder, batch_invariant=True)
        found = {text: prompt for group in groups for text, prompt in encoder.encode(group).items()}
        return [found[text].embeds for text in texts]

    together, one_by_one = encoded(texts), encoded(*[[text] for text in reversed(texts)])
    assert all(torch.equal(*pair) for pair in zip(together, one_by_one, strict=True))


def test_a_weight_moves_its_words_alone(encoder: PromptEncoder) -> None:
    plain, strong, weak = (
        prompt.embeds[0]
        for prompt in list(
            encoder.encode(["a red apple", "a (red:1.5) apple", "a (red:0.5) apple"]).values()
        )[1:]
    )
    empty = encoder.encode([])[""].embeds[0]
    changed = (strong != plain).any(dim=1).nonzero().flatten().tolist()
    assert changed == [2], "the first token is the start, the second 'a'"
    assert torch.allclose(strong[2] - empty[2], 1.5 * (plain[2] - empty[2]), atol=1e-5)
    assert torch.allclose(weak[2] - empty[2], 0.5 * (plain[2] - empty[2]), atol=1e-5)


def test_weight_one_and_weight_zero(encoder: PromptEncoder) -> None:
    prompts = encoder.encode(["a red apple", "a (red:1.0) apple", "a apple", "a (red:0)apple"])
    assert torch.equal(prompts["a red apple"].embeds, prompts["a (red:1.0) apple"].embeds)
    assert torch.equal(prompts["a apple"].embeds, prompts["a (red:0)apple"].embeds)
    nothing = encoder.encode(["(red:0)"])
    assert torch.equal(nothing["(red:0)"].embeds, nothing[""].embeds)


def test_a_long_prompt_is_cut_at_punctuation(pipeline: Any, encoder: PromptEncoder) -> None:
    first = " ".join(["red"] * 40) + ","
    second = " ".join(["green"] * 60)
    prompts = encoder.encode([f"{first} {second}", first, second])
    whole = prompts[f"{first} {second}"]
    assert whole.warnings == ()
    assert torch.allclose(whole.embeds[:, :77], prompts[first].embeds, atol=1e-5)
    assert torch.allclose(whole.embeds[:, 77:], prompts[second].embeds, atol=1e-5)


def test_no_word_is_lost_before_the_limit(pipeline: Any, encoder: PromptEncoder) -> None:
    text = long_text(400)
    tokens = pipeline.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    other = text.removesuffix(WORDS[-1]) + "cats"
    prompts = encoder.encode([text, other])
    assert prompts[text].warnings == ()
    assert prompts[text].embeds.shape[1] >= 77 * (len(tokens) // 75 + 1)
    assert not torch.equal(prompts[text].embeds[:, -77:], prompts[other].embeds[:, -77:])
    assert torch.allclose(prompts[text].embeds[:, :77], prompts[other].embeds[:, :77], atol=1e-5)


def test_what_is_beyond_the_limit_is_reported(encoder: PromptEncoder) -> None:
    text = " ".join(["cat"] * MAX_CHUNKS * 75 + ["green", "frogs", "dance"] + ["red"] * 20)
    encoded = encoder.encode([text])[text]
    assert encoded.embeds.shape[1] == 77 * MAX_CHUNKS
    (warning,) = encoded.warnings
    tokens = len(encoder._tokenizer("green frogs dance " + "red " * 20).input_ids) - 2
    assert warning.startswith(f"is too long: {tokens} tokens, from 'green frogs")
    assert warning.endswith("were dropped; there is room for 8 x 75")


def test_clamped_weights_are_reported(encoder: PromptEncoder) -> None:
    text = "(a:9) (b:-1) (c:3) (d:4) (e:1.2)"
    (warning,) = encoder.encode([text])[text].warnings
    assert warning.startswith("has weights outside 0 to 2")
    assert warning.endswith("9, -1, 3 and others")


def test_shorter_prompts_are_filled_up_with_the_empty_one(encoder: PromptEncoder) -> None:
    prompts = encoder.encode(["a cat", long_text(150)])
    empty, short, long = (prompt.embeds for prompt in prompts.values())
    rows = pad_to_longest([short, long], empty)
    assert rows.shape == (2, long.shape[1], long.shape[2])
    assert torch.equal(rows[:1, :77], short)
    assert torch.equal(rows[:1, 77:154], empty)
    assert torch.equal(rows[1:], long)


def test_long_prompts_make_no_noise(
    encoder: PromptEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("transformers").propagate = True
    encoder.encode([long_text(200)])
    assert caplog.records == []


def test_anything_can_be_encoded(encoder: PromptEncoder) -> None:
    """Whatever a client writes: no error, finite numbers, no more than the limit."""
    dice = random.Random(0)
    pieces = [*WORDS, *"()()()::\\,. \n", "1.3", "-2", "1e9", "nan", "0", ":1.2)", "(a:0.5)"]
    pieces += ["<|endoftext|>", "<|startoftext|>", "☃", "\x00", "\u202e", "é", "́", "🦊", "٣"]
    for _ in range(40):
        texts = [
            dice.choice(["", " "]).join(dice.choices(pieces, k=dice.choice([1, 4, 12, 40, 150])))
            for _ in range(50)
        ]
        for text, prompt in encoder.encode(texts).items():
            assert torch.isfinite(prompt.embeds).all(), repr(text)
            assert prompt.embeds.shape[1] in range(77, 77 * MAX_CHUNKS + 1, 77), repr(text)
