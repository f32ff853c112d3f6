from __future__ import annotations

import time

import pytest

from api import forms
from contract.errors import ErrorCode, RequestError

TYPE = "multipart/form-data; boundary=B"
LONGEST = {"img": 10**7, "data": 100}
IMG = b'--B\r\nContent-Disposition: form-data; name="img"; filename="a.png"\r\n\r\n\x00\xff\r\n\r\n'
DATA = b'--B\r\nContent-Disposition: form-data; name="data"\r\n\r\n{"prompt": "\xff"}\r\n'
DATA_AS_FILE = (
    b'--B\r\nContent-Disposition: form-data; name="data"; filename="blob"\r\n'
    b"Content-Type: application/json\r\n\r\n{}\r\n"
)
END = b"--B--\r\n"


def test_parts_arrive_byte_for_byte() -> None:
    parts = forms.read(bytearray(IMG + DATA + END), TYPE, LONGEST)

    assert parts == {"img": b"\x00\xff\r\n", "data": b'{"prompt": "\xff"}'}


def test_order_and_file_names_do_not_matter() -> None:
    parts = forms.read(bytearray(DATA_AS_FILE + IMG + END), TYPE, LONGEST)

    assert bytes(parts["data"]) == b"{}"


def test_delimiters_that_are_none_cost_nothing() -> None:
    """The parser steps through what begins like one; a body of them would take it seconds."""
    body = bytearray(IMG[:-4] + b"\r\n--Bx" * 2_000_000 + DATA + END)
    started = time.monotonic()

    with pytest.raises(RequestError, match="at most 32 parts"):
        forms.read(body, TYPE, {"img": len(body), "data": 100})
    assert time.monotonic() - started < 0.5


def test_parts_have_a_longest_form() -> None:
    with pytest.raises(RequestError) as refused:
        forms.read(bytearray(IMG + DATA + END), TYPE, {"img": 4, "data": 13})
    assert (refused.value.code, refused.value.field) == (ErrorCode.PAYLOAD_TOO_LARGE, "data")
    assert refused.value.message == "the part data must be at most 13 bytes long, got 15"


def test_parts_of_any_names_in_their_order() -> None:
    parts = forms.split(bytearray(IMG + DATA + IMG + END), TYPE, LONGEST.__getitem__)

    assert [(name, bytes(part)[:1]) for name, part in parts] == [
        ("img", b"\x00"),
        ("data", b"{"),
        ("img", b"\x00"),
    ]
    with pytest.raises(RequestError, match="at most 2 parts"):
        forms.split(bytearray(IMG + DATA + IMG + END), TYPE, LONGEST.__getitem__, most=2)


def test_large_parts_stay_in_memory() -> None:
    large = bytes(3_000_000)
    body = IMG[:-4] + large + b"\r\n" + DATA + END

    part = forms.read(bytearray(body), TYPE, LONGEST)["img"]

    assert bytes(part).endswith(large)


@pytest.mark.parametrize(
    ("body", "content_type", "field"),
    [
        (b"", TYPE, None),
        (b"no form", TYPE, None),
        (END, TYPE, "img"),
        (IMG + DATA, TYPE, None),  # ends early
        (IMG + DATA[:-5], TYPE, None),
        (IMG + DATA + END, "multipart/form-data", None),  # no boundary
        (IMG + DATA + END, "multipart/form-data; boundary=" + "B" * 300, None),
        (b"--B\r\nX: y\r\n\r\nnameless\r\n" + END, TYPE, None),
        (b"--B\r\n" * 100 + IMG + DATA + END, TYPE, None),
        (IMG.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n"), TYPE, "img"),
        (b"--B\r\n" + b"X: y\r\n" * 20 + IMG[5:] + DATA + END, TYPE, None),
        (b"--B\r\nX: " + b"y" * 5000 + b"\r\n" + IMG[5:] + DATA + END, TYPE, None),
        (IMG + END, TYPE, "data"),
        (DATA + END, TYPE, "img"),
        (IMG + DATA + DATA + END, TYPE, "data"),
        (IMG + DATA + DATA.replace(b"data", b"date") + END, TYPE, "date"),
    ],
)
def test_malformed_forms(body: bytes, content_type: str, field: str | None) -> None:
    with pytest.raises(RequestError) as refused:
        forms.read(bytearray(body), content_type, LONGEST)

    assert refused.value.code is ErrorCode.INVALID_REQUEST
    assert refused.value.field == field
