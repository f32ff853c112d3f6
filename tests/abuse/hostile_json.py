"""JSON that is none, that is of the wrong shape, and text that means something elsewhere."""

from __future__ import annotations

import json
from typing import Any, Final

# What every body has, so that a picture costs one step where there is one.
_BASE: Final[dict[str, Any]] = {"prompt": "x", "num_inference_steps": 1, "seed": 1}

FIELDS: Final = (
    *("prompt", "negative_prompt", "expand_prompt", "width", "height", "num_inference_steps"),
    *("guidance_scale", "guidance_start", "guidance_end", "scheduler", "seed", "num_images"),
    *("model", "loras", "output_format", "previews", "strength"),
)

# As they stand in the JSON text.
VALUES: Final[dict[str, bytes]] = {
    "null": b"null",
    "true": b"true",
    "zero": b"0",
    "minus-zero": b"-0.0",
    "minus-one": b"-1",
    "fraction": b"1.5",
    "nan": b"NaN",
    "minus-infinity": b"-Infinity",
    "1e400": b"1e400",
    "1e308": b"1e308",
    "1e-400": b"1e-400",
    "2^63": b"9223372036854775808",
    "5000-digits": b"9" * 5000,
    "5000-decimals": b"0." + b"1" * 5000,
    "leading-zero": b"01",
    "plus": b"+1",
    "hex": b"0x10",
    "empty-text": b'""',
    "digits-as-text": b'"64"',
    "long-text": b'"' + b"a" * 60_000 + b'"',
    "nul": b'"\\u0000"',
    "lone-surrogate": b'"\\ud800"',
    "path": b'"../../../etc/passwd"',
    "empty-list": b"[]",
    "deep-list": b"[" * 500 + b"]" * 500,
    "empty-object": b"{}",
    "deep-object": b'{"a":' * 500 + b"1" + b"}" * 500,
}


def body(field: str, value: bytes) -> bytes:
    """A request for a picture in which ``field`` has that value, as JSON text."""
    fields = {name: json.dumps(given).encode() for name, given in _BASE.items()} | {field: value}
    return (
        b"{" + b",".join(b'"%s":%s' % (name.encode(), text) for name, text in fields.items()) + b"}"
    )


_GOOD: Final = json.dumps(_BASE).encode()
_TEXT: Final = _GOOD.decode()

BODIES: Final[dict[str, bytes]] = {
    "empty": b"",
    "blank": b" \r\n\t",
    "nul": b"\x00",
    "null": b"null",
    "number": b"1",
    "text": b'"prompt"',
    "list": b"[" + _GOOD + b"]",
    "word": b"prompt",
    "byte-order-mark": b"\xef\xbb\xbf" + _GOOD,
    "utf-16": _TEXT.encode("utf-16"),
    "utf-16-be": _TEXT.encode("utf-16-be"),
    "utf-32": _TEXT.encode("utf-32"),
    "not-utf-8": b'{"prompt":"\xff\xfe"}',
    "overlong-utf-8": b'{"prompt":"\xc0\xaf"}',
    "surrogates-in-utf-8": b'{"prompt":"\xed\xa0\x80"}',
    "truncated-utf-8": b'{"prompt":"\xf0\x9f"}',
    "trailing-comma": b'{"prompt":"x",}',
    "comment": b'{"prompt":"x"/* y */}',
    "single-quotes": b"{'prompt':'x'}",
    "unquoted": b"{prompt:1}",
    "two-documents": _GOOD + _GOOD,
    "rubbish-behind": _GOOD + b"rubbish",
    "nul-behind": _GOOD + b"\x00",
    "control-character": b'{"prompt":"a\nb"}',
    "bad-escape": b'{"prompt":"\\x41"}',
    "half-escape": b'{"prompt":"\\u12"}',
    "twice-the-same-field": b'{"prompt":"a","prompt":"b","num_inference_steps":1}',
    "twice-wrong-then-right": b'{"prompt":7,"prompt":"b","num_inference_steps":1}',
    "field-without-a-name": b'{"":1,"prompt":"x"}',
    "field-nul": b'{"\\u0000":1,"prompt":"x"}',
    "field-surrogate": b'{"\\ud800":1,"prompt":"x"}',
    "field-of-60000": b'{"' + b"a" * 60_000 + b'":1,"prompt":"x"}',
    "field-newline": b'{"a\\r\\nSet-Cookie: b=c":1,"prompt":"x"}',
    "field-proto": b'{"__proto__":{"prompt":"x"},"prompt":"x"}',
    "field-class": b'{"__class__":"x","model_config":{},"prompt":"x"}',
    "arrays-60000-deep": b"[" * 60_000,
    "objects-10000-deep": b'{"a":' * 10_000,
    "6000-unknown-fields": b"{" + b",".join(b'"f%d":1' % number for number in range(6000)) + b"}",
    "20000-empty-loras": b'{"prompt":"x","loras":[' + b",".join([b"{}"] * 20_000) + b"]}",
    "2500-loras": b'{"prompt":"x","loras":['
    + b",".join([b'{"name":"a","scale":1}'] * 2500)
    + b"]}",
    "loras-of-loras": b'{"prompt":"x","loras":[[{"name":"a"}]]}',
    "lora-path": b'{"prompt":"x","loras":[{"name":"../../x"}]}',
    "lora-url": b'{"prompt":"x","loras":[{"name":"http://127.0.0.1:1/"}]}',
    "lora-scale-nan": b'{"prompt":"x","loras":[{"name":"a","scale":NaN}]}',
    **{f"cut-at-{end}": _GOOD[:end] for end in range(1, len(_GOOD), 3)},
}

# Prompts are nothing but text: what comes back is what was sent.
PROMPTS: Final[dict[str, str]] = {
    "empty": "",
    "crlf": "a\r\nX-Evil: 1\r\n\r\n<html>",
    "headers": "x\r\nSet-Cookie: a=b",
    "log-line": "x\n2026-01-01T00:00:00 ERROR [1] root - forged",
    "right-to-left": "a \u202etxet siht\u202c b",
    "right-to-left-isolate": "\u2067\u2066\u2069",
    "zero-width": "a\u200b\u200d\ufeffb",
    "line-separators": "a\u2028b\u2029c\x85d",
    "emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f467\U0001f3fd",
    "combining": "e" + "\u0301" * 500,
    "non-characters": "\uffff\ufffe\U0010ffff\ufdd0",
    "private-use": "\ue000\uf8ff",
    "c1-controls": "".join(map(chr, range(0x80, 0xA0))),
    "escape-sequence": "\x1b[31mred\x1b[0m",
    "most-characters": "\U0001f600" * 2000,
    "one-long-word": "a" * 2000,
    "brackets": "(" * 500 + "x" + ")" * 500,
    "brackets-open": "((((x",
    "brackets-closed": "x))))",
    "weights": "(x:1e9) (y:-1) (z:nan) (a:1.5:2) (:) (b:",
    "backslashes": "\\(\\)\\\\\\",
    "template": "{a|b} __c__ ${d} {2$$e|f}",
    "format": "%s%n%x {0} {x.__class__} {{7*7}} ${7*7}",
    "shell": "$(id) `id` ; rm -rf / | cat &",
    "sql": "'; DROP TABLE x; --",
    "jndi": "${jndi:ldap://127.0.0.1/a}",
    "markup": "<script>alert(1)</script><!-- ]]>",
    "token-of-the-encoder": "<|startoftext|><|endoftext|><|endoftext|>",
    "path": "../../../../etc/passwd",
    "url": "file:///etc/passwd http://169.254.169.254/",
    # Like lines of the parameters in the file, and what the PNG specification does not allow there.
    "negative-prompt": "a\nNegative prompt: evil",
    "steps": "a\nSteps: 999, Sampler: evil, Seed: 13",
    "both": "a\nNegative prompt: evil\nSteps: 999, Sampler: evil",
    "carriage-return": "a\rNegative prompt: evil",
    "nul": "a\x00b",
    "all-controls": "".join(map(chr, range(1, 32))),
}

TEMPLATES: Final[dict[str, str]] = {
    "open": "{a|b",
    "closed": "a|b}",
    "empty": "{}",
    "nothing-but-bars": "{||||}",
    "too-many-choices": "{" + "|".join("ab" for _ in range(900)) + "}",
    "too-deep": "{" * 300 + "a" + "}" * 300,
    "as-deep-as-allowed": "{" * 10 + "a|b" + "}" * 10,
    "exponential": "{2$$" * 9 + "a|b" + "|c}" * 9,
    "long-separator": "{5$$" + "," * 1000 + "$$a|b|c|d|e|f}",
    "many-of-few": "{1000000000$$a|b}",
    "negative-count": "{-5$$a|b}",
    "range-backwards": "{5-1$$a|b|c}",
    "weight-nan": "{nan::a|b}",
    "weight-1e400": "{1e400::a|b}",
    "weight-zero": "{0::a|0::b}",
    "wildcard-path": "__../../etc/passwd__",
    "wildcard-pattern": "__**/*__",
    "wildcard-unknown": "__nothing__",
    "underscores": "_" * 500,
    "variable": "${x=!{a|b}} ${x}",
    "wrap": "%{a$$b}",
    "nul": "{a\x00|b}",
}
