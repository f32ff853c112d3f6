"""Templates become prompts: at random, by the seed, and within bounds."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter

import pytest
from dynamicprompts.wildcards.item import WildcardItem
from dynamicprompts.wildcards.values import WildcardValues

from contract.errors import ErrorCode, RequestError
from templating.expansion import MAX_CHOICES, expand
from templating.wildcards import NO_WILDCARDS, Wildcards
from tests.conftest import ROOT


def wildcards(**values: list[str | WildcardItem]) -> Wildcards:
    return Wildcards({name: WildcardValues.from_items(items) for name, items in values.items()})


COLOURS = wildcards(
    colour=["red", "green", "blue #1"],
    pair=["{2$$ and $$__colour__}", "plain"],
    rare=[WildcardItem("often", 99), WildcardItem("seldom", 1)],
)


def outcomes(template: str) -> set[str]:
    return {expand(template, seed, COLOURS) for seed in range(100)}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("a {red|green} apple", {"a red apple", "a green apple"}),
        ("{2$$a|b|c}", {"a,b", "a,c", "b,a", "b,c", "c,a", "c,b"}),
        ("{2$$ and $$a|b}", {"a and b", "b and a"}),
        ("{1-2$$a|b}", {"a", "b", "a,b", "b,a"}),
        ("{100000$$a|b}", {"a,b", "b,a"}),
        ("{0$$a|b}", {""}),
        ("{a|{b|c}} d", {"a d", "b d", "c d"}),
        ("{0::a|b}", {"b"}),
        ("{a|}x", {"ax", "x"}),
        ("__colour__!", {"red!", "green!", "blue #1!"}),
        ("__{colour|pair}__", outcomes("__colour__") | outcomes("__pair__")),
        ("{9$$+$$__colour__}", outcomes("{3$$+$$red|green|blue #1}")),
        ("50% of {#1|$2}, http://x", {"50% of #1, http://x", "50% of $2, http://x"}),
        ("no braces\t(at all:1.2)", {"no braces\t(at all:1.2)"}),
    ],
)
def test_all_that_can_come_out_does(template: str, expected: set[str]) -> None:
    assert outcomes(template) == expected


def test_weights_count() -> None:
    counts = Counter(expand("{3::a|1::b} __rare__", seed, COLOURS) for seed in range(1_000))
    assert 650 < sum(counts[key] for key in counts if key.startswith("a ")) < 850
    assert sum(counts[key] for key in counts if key.endswith("seldom")) < 50


def test_a_seed_means_the_same_in_every_process() -> None:
    template = "a {red|green|blue} {2$$apple|pear|plum} {0.5::x|y}"
    code = (
        "from templating.expansion import expand; from templating.wildcards import NO_WILDCARDS\n"
        f"print([expand({template!r}, seed, NO_WILDCARDS) for seed in range(20)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    here = [expand(template, seed, NO_WILDCARDS) for seed in range(20)]
    assert done.stdout == f"{here}\n"
    assert len(set(here)) > 10


@pytest.mark.parametrize(
    "template", ["{0::a|0::b}", "{2$$0::a|1::b}", "{" + "9" * 400 + ".0::a|b}"]
)
def test_choices_without_weight(template: str) -> None:
    with pytest.raises(RequestError, match="weights") as refused:
        expand(template, 1, NO_WILDCARDS)
    assert (refused.value.code, refused.value.field) == (ErrorCode.OUT_OF_RANGE, "prompt")


@pytest.mark.parametrize(
    "template", ["__self__", "__two__", f"{{{MAX_CHOICES + 1}$$__many__}}", "{200$$__many__}" * 2]
)
def test_wildcards_cannot_run_away(template: str) -> None:
    greedy = wildcards(
        self=["x __self__"],
        two=["__two__ __two__"],
        many=[str(number) for number in range(10_000)],
    )
    with pytest.raises(RequestError, match=f"more than {MAX_CHOICES} choices") as refused:
        expand(template, 1, greedy)
    assert (refused.value.code, refused.value.field) == (ErrorCode.OUT_OF_RANGE, "prompt")


PIECES = [
    *("{", "}", "|", "__", "$$", "::", "$", "%", "#", "/*", "*/", "//", "(", ")", "=", "-", "~"),
    *("!", "@", "..", " ", "\n", "\t", "\0", "\ud800", "\ufdd0", "é", "2", "0.5", "99999999999"),
    *("a", "colour", "${", "%{", "{a|b}", "__colour__", "{2$$", "{1-3$$ and $$", "0::"),
]


def outcome(template: str) -> str:
    try:
        expand(template, 1, COLOURS)
    except RequestError as error:
        return f"{error.code.value} {error.field}"
    return "a prompt"


def test_whatever_a_client_sends_is_expanded_or_refused() -> None:
    dice = random.Random(1)
    ends = Counter[str]()
    for number in range(500):
        some = dice.sample(PIECES, dice.randint(1, 6)) if number % 2 else PIECES
        template = "".join(dice.choices(some, k=dice.randint(1, 40 if number % 5 else 400)))
        if number % 3:
            template += "}" * (template.count("{") - template.count("}"))
        ends[outcome(template[:2_000])] += 1
    assert ends.keys() == {"a prompt", "invalid_request prompt", "out_of_range prompt"}
    assert min(ends.values()) > 10


@pytest.mark.parametrize(
    "text",
    ["", "100% #1, $5 or $.", "a\tb \n  c ", "http://a//b /* c */", "(words:1.3), \\(b\\) }|"],
)
def test_what_is_around_choices_stays_as_it_is(text: str) -> None:
    assert expand(f"{text}{{a}}{text}", 1, NO_WILDCARDS) == f"{text}a{text}"
