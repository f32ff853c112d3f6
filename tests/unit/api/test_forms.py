from __future__ import annotations

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
    assert forms.read(bytearray(DATA_AS_FILE + IMG + END), TYPE, LONGEST)["data"] == b"{}"


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
