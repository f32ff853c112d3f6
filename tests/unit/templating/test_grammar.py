"""What is a template, and what is refused as one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from contract.errors import ErrorCode, RequestError
from templating.grammar import MAX_DEPTH, MAX_PARTS, parse
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("template", "code", "sentence"),
    [
        ("{", ErrorCode.INVALID_REQUEST, "it cannot be read"),
        ("{a|b", ErrorCode.INVALID_REQUEST, r"it cannot be read: .*, got '\{a\|b'"),
        ("{2$$$$a|b}", ErrorCode.INVALID_REQUEST, "it cannot be read"),
        ("$$ {a|b}", ErrorCode.INVALID_REQUEST, "it cannot be read"),
        ("snake__case {a|b}", ErrorCode.INVALID_REQUEST, "it cannot be read"),
        ("____", ErrorCode.INVALID_REQUEST, "it cannot be read"),
        ("{" + "9" * 1_000 + "::a|b}", ErrorCode.INVALID_REQUEST, "it cannot be read"),
        ("{" * 1_000, ErrorCode.OUT_OF_RANGE, f"at most {MAX_PARTS} .* got 1000"),
        ("{" * 11 + "}" * 11, ErrorCode.OUT_OF_RANGE, f"at most {MAX_DEPTH} .* got 11"),
        ("{" + "|" * 1_000 + "}", ErrorCode.OUT_OF_RANGE, f"at most {MAX_PARTS} .* got 1001"),
        ("__" * 1_000, ErrorCode.OUT_OF_RANGE, f"at most {MAX_PARTS} .* got 1000"),
        ("${a={b|c}} ${a}", ErrorCode.INVALID_REQUEST, r"\$\{\.\.\.\} is not supported"),
        ("%{a ...$${b|c}}", ErrorCode.INVALID_REQUEST, r"%\{\.\.\.\} is not supported"),
        ("{!a|b}", ErrorCode.INVALID_REQUEST, "! and @"),
        ("__@colour__", ErrorCode.INVALID_REQUEST, "! and @"),
        ("__colour(a=b)__", ErrorCode.INVALID_REQUEST, r"takes no \(\.\.\.\)"),
    ],
)
def test_refused(template: str, code: ErrorCode, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence) as refused:
        parse(template)
    assert (refused.value.code, refused.value.field) == (code, "prompt")
    assert refused.value.message.startswith("prompt ")
    assert refused.value.message.isascii()


def test_it_takes_no_torch() -> None:
    code = "import sys, templating.expansion; print({'torch', 'transformers'} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
