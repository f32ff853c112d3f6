"""Requests that no library would send, with what a server may do about them.

``CASES`` maps a name to the bytes of one request, or of what pretends to be one, and the statuses
that are right. ``CLOSED`` stands for a connection that is closed without a response.
"""

from __future__ import annotations

import json
from typing import Final

CLOSED: Final = 0
OK: Final = frozenset({200})
BAD: Final = frozenset({400, 431, CLOSED})
REFUSED: Final = frozenset({400, 403, 404, 405, 413, 415, 421, 422, 431, 501, 505, CLOSED})

PROMPT: Final = json.dumps({"prompt": "x", "num_inference_steps": 1, "seed": 1}).encode()


def message(line: bytes, *headers: bytes, body: bytes = b"", host: bool = True) -> bytes:
    """A request with these lines, and ``Host`` and ``Connection: close`` before them."""
    lines = [line, *([b"Host: 127.0.0.1", b"Connection: close"] if host else []), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def get(*headers: bytes, line: bytes = b"GET /models HTTP/1.1") -> bytes:
    """A request for the list of models with further header lines."""
    return message(line, *headers)


def post(*headers: bytes, body: bytes = PROMPT) -> bytes:
    """A request for a picture with further header lines, Content-Length not among them."""
    return message(
        b"POST /txt2img HTTP/1.1", b"Content-Type: application/json", *headers, body=body
    )


def chunked(*sizes_and_data: bytes, transfer: bytes = b"Transfer-Encoding: chunked") -> bytes:
    """A request for a picture whose body is sent as it stands here."""
    return post(transfer, body=b"".join(sizes_and_data))


def length(value: bytes, body: bytes = PROMPT) -> bytes:
    return post(b"Content-Length: " + value, body=body)


_N = str(len(PROMPT)).encode()
_X = f"{len(PROMPT):x}".encode()
_WHOLE = _X + b"\r\n" + PROMPT + b"\r\n0\r\n\r\n"
_SECOND = b"GET /smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

CASES: Final[dict[str, tuple[bytes, frozenset[int]]]] = {
    # What is right, so that the rest means something.
    "get": (get(), OK),
    "post": (length(_N), OK),
    "chunked": (chunked(_WHOLE), OK),
    "chunk-extension": (chunked(_X + b";a=b\r\n" + PROMPT + b"\r\n0\r\n\r\n"), OK | BAD),
    "trailer": (chunked(_X + b"\r\n" + PROMPT + b"\r\n0\r\nX-A: b\r\n\r\n"), OK | BAD),
    "leading-empty-lines": (b"\r\n\r\n" + get(), OK | BAD),
    # The length of the body.
    "length-twice-equal": (post(b"Content-Length: " + _N, b"Content-Length: " + _N), OK | BAD),
    "length-twice-different": (post(b"Content-Length: " + _N, b"Content-Length: 5"), BAD),
    "length-list": (length(_N + b", 5"), BAD),
    "length-negative": (length(b"-1"), BAD),
    "length-plus": (length(b"+" + _N), BAD),
    "length-hex": (length(b"0x10"), BAD),
    "length-underscore": (length(b"1_0"), BAD),
    "length-fraction": (length(b"1.0"), BAD),
    "length-empty": (length(b""), BAD),
    "length-word": (length(b"many"), BAD),
    "length-arabic-digits": (length("١٢".encode()), BAD),
    "length-25-digits": (length(b"9" * 25, b""), REFUSED),
    "length-5000-digits": (length(b"9" * 5000, b""), REFUSED),
    "length-2^63": (length(b"9223372036854775808", b""), REFUSED),
    "length-2^31": (length(b"2147483648", b""), REFUSED),
    "length-space": (post(b"Content-Length : " + _N), BAD),
    "length-zero": (length(b"0", b""), frozenset({400})),
    "no-length": (post(body=b""), frozenset({400, 411})),
    # Two ways to say how long it is.
    "te-and-length": (
        post(b"Transfer-Encoding: chunked", b"Content-Length: 4", body=_WHOLE),
        OK | BAD,
    ),
    "length-and-te": (
        post(b"Content-Length: 4", b"Transfer-Encoding: chunked", body=_WHOLE),
        OK | BAD,
    ),
    "te-twice": (
        post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=_WHOLE),
        REFUSED,
    ),
    "te-identity": (chunked(_WHOLE, transfer=b"Transfer-Encoding: identity"), REFUSED),
    "te-gzip": (chunked(_WHOLE, transfer=b"Transfer-Encoding: gzip, chunked"), REFUSED),
    "te-chunked-gzip": (chunked(_WHOLE, transfer=b"Transfer-Encoding: chunked, gzip"), REFUSED),
    "te-misspelt": (chunked(_WHOLE, transfer=b"Transfer-Encoding: xchunked"), REFUSED),
    "te-space": (chunked(_WHOLE, transfer=b"Transfer-Encoding : chunked"), BAD),
    "te-tab": (chunked(_WHOLE, transfer=b"Transfer-Encoding:\tchunked"), OK | BAD),
    "te-vertical-tab": (chunked(_WHOLE, transfer=b"Transfer-Encoding: \x0bchunked"), REFUSED),
    "te-folded": (chunked(_WHOLE, transfer=b"Transfer-Encoding:\r\n chunked"), OK | BAD),
    "te-quoted": (chunked(_WHOLE, transfer=b'Transfer-Encoding: "chunked"'), REFUSED),
    "te-in-1.0": (
        message(b"POST /txt2img HTTP/1.0", b"Transfer-Encoding: chunked", body=_WHOLE),
        OK | REFUSED,
    ),
    # Chunks.
    "chunk-size-word": (chunked(b"zz\r\n"), BAD),
    "chunk-size-negative": (chunked(b"-1\r\n"), BAD),
    "chunk-size-plus": (chunked(b"+5\r\n"), BAD),
    "chunk-size-0x": (chunked(b"0x5\r\n"), BAD),
    "chunk-size-empty": (chunked(b"\r\n"), BAD),
    "chunk-size-25-digits": (chunked(b"f" * 25 + b"\r\n"), REFUSED),
    "chunk-size-5000-digits": (chunked(b"f" * 5000 + b"\r\n"), REFUSED),
    "chunk-size-nul": (chunked(b"5\x00\r\n"), BAD),
    "chunk-too-long": (chunked(b"2\r\n" + PROMPT + b"\r\n0\r\n\r\n"), BAD),
    # The first line.
    "version-0.9": (b"GET /models\r\n\r\n", BAD),
    "version-1.0": (message(b"GET /models HTTP/1.0"), OK),
    "version-1.2": (get(line=b"GET /models HTTP/1.2"), OK | BAD),
    "version-2.0": (get(line=b"GET /models HTTP/2.0"), OK | REFUSED),
    "version-9.9": (get(line=b"GET /models HTTP/9.9"), OK | REFUSED),
    "version-999": (get(line=b"GET /models HTTP/999.999"), BAD),
    "version-lower": (get(line=b"GET /models http/1.1"), BAD),
    "version-letters": (get(line=b"GET /models HTTP/a.b"), BAD),
    "version-missing": (get(line=b"GET /models"), BAD),
    "two-spaces": (get(line=b"GET  /models HTTP/1.1"), BAD),
    "tab": (get(line=b"GET\t/models HTTP/1.1"), BAD),
    "only-a-method": (get(line=b"GET"), BAD),
    "space-first": (get(line=b" GET /models HTTP/1.1"), BAD),
    "nothing-but-nul": (b"\x00" * 100 + b"\r\n\r\n", BAD),
    "binary": (bytes(range(128, 256)) * 8 + b"\r\n\r\n", BAD),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x11" * 500 + b"\r\n\r\n", BAD),
    "smb": (b"\x00\x00\x00\x85\xffSMBr\x00" + b"\x00" * 100 + b"\r\n\r\n", BAD),
    "upgrade-h2c": (
        get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
        OK,
    ),
    "post-with-upgrade-h2c": (
        post(
            b"Connection: Upgrade, HTTP2-Settings",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAMAAABk",
            b"Content-Length: " + _N,
        ),
        OK,
    ),
    "upgrade-websocket": (
        get(
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ),
        OK | frozenset({400, 403, 404, 426}),
    ),
    "method-unknown": (get(line=b"BREW /models HTTP/1.1"), frozenset({405, 501})),
    "method-lower": (get(line=b"get /models HTTP/1.1"), REFUSED),
    "method-10000-letters": (get(line=b"A" * 10_000 + b" /models HTTP/1.1"), REFUSED),
    "method-nul": (get(line=b"G\x00T /models HTTP/1.1"), BAD),
    "method-8-bit": (get(line=b"G\xc3\x89T /models HTTP/1.1"), BAD),
    "connect": (get(line=b"CONNECT example.org:443 HTTP/1.1"), REFUSED),
    "trace": (get(line=b"TRACE /models HTTP/1.1"), frozenset({405, 501})),
    "options-star": (get(line=b"OPTIONS * HTTP/1.1"), REFUSED),
    # The target.
    "absolute": (get(line=b"GET http://127.0.0.1/models HTTP/1.1"), OK | REFUSED),
    "absolute-elsewhere": (get(line=b"GET http://example.org/ HTTP/1.1"), OK | REFUSED),
    "no-slash": (get(line=b"GET models HTTP/1.1"), REFUSED),
    "traversal": (get(line=b"GET /static_content/../../../etc/passwd HTTP/1.1"), REFUSED),
    "traversal-encoded": (
        get(line=b"GET /static_content/%2e%2e/%2e%2e/%2e%2e/etc/passwd HTTP/1.1"),
        REFUSED,
    ),
    "traversal-slash-encoded": (
        get(line=b"GET /static_content/..%2f..%2f..%2fetc%2fpasswd HTTP/1.1"),
        REFUSED,
    ),
    "traversal-backslash": (get(line=b"GET /static_content/..\\..\\etc HTTP/1.1"), REFUSED),
    "static-absolute": (get(line=b"GET /static_content//etc/passwd HTTP/1.1"), REFUSED),
    "static-nul": (get(line=b"GET /static_content/a%00.css HTTP/1.1"), REFUSED),
    "static-folder": (get(line=b"GET /static_content/ HTTP/1.1"), REFUSED),
    "static-long": (get(line=b"GET /static_content/" + b"a" * 5000 + b" HTTP/1.1"), REFUSED),
    "target-nul": (get(line=b"GET /mod\x00els HTTP/1.1"), REFUSED),
    "target-nul-encoded": (get(line=b"GET /mod%00els HTTP/1.1"), frozenset({404})),
    "target-bad-escape": (get(line=b"GET /%zz HTTP/1.1"), REFUSED),
    "target-not-utf8": (get(line=b"GET /%ff%fe HTTP/1.1"), REFUSED),
    "target-8-bit": (get(line=b"GET /\xff\xfe HTTP/1.1"), REFUSED),
    "target-60000": (get(line=b"GET /" + b"a" * 60_000 + b" HTTP/1.1"), REFUSED | {414}),
    "query-not-utf8": (get(line=b"GET /dreambooth?prompt=%ff HTTP/1.1"), OK | REFUSED),
    "query-8-bit": (get(line=b"GET /dreambooth?prompt=\xff HTTP/1.1"), OK | REFUSED),
    "query-nul": (get(line=b"GET /dreambooth?prompt=%00 HTTP/1.1"), OK | REFUSED),
    "query-10000-parameters": (
        get(line=b"GET /dreambooth?" + b"a=&" * 10_000 + b" HTTP/1.1"),
        REFUSED | {414},
    ),
    # Headers.
    "no-host": (message(b"GET /models HTTP/1.1", b"Connection: close", host=False), BAD),
    "host-twice": (get(b"Host: example.org"), BAD),
    "host-empty": (
        message(b"GET /models HTTP/1.1", b"Host:", b"Connection: close", host=False),
        OK | REFUSED,
    ),
    "host-8-bit": (
        message(b"GET /models HTTP/1.1", b"Host: \xff", b"Connection: close", host=False),
        OK | REFUSED,
    ),
    "header-without-colon": (get(b"Nonsense"), BAD),
    "header-without-name": (get(b": value"), BAD),
    "header-name-space": (get(b"X A: b"), BAD),
    "header-name-nul": (get(b"X\x00A: b"), BAD),
    "header-name-8-bit": (get(b"X\xe9: b"), BAD),
    "header-value-nul": (get(b"X-A: b\x00c"), BAD),
    "header-value-cr": (get(b"X-A: b\rX-B: c"), OK | BAD),
    "header-value-bare-newline": (get(b"X-A: b\nX-B: c"), OK | BAD),
    "header-folded": (get(b"X-A: b\r\n  c"), OK | BAD),
    "header-folded-first": (message(b"GET /models HTTP/1.1", b" folded: x", host=False), BAD),
    "header-10000": (get(*[b"X-%d: a" % i for i in range(10_000)]), REFUSED),
    "header-of-100-kb": (get(b"X-A: " + b"a" * 100_000), REFUSED),
    "cookie-of-60-kb": (get(b"Cookie: " + b"a=b;" * 15_000), OK | REFUSED),
    "request-id-crlf-escaped": (get(b"X-Request-Id: a%0d%0aSet-Cookie: b=c"), OK),
    "request-id-newline": (get(b"X-Request-Id: a\x0bSet-Cookie: b=c"), OK | BAD),
    "request-id-long": (get(b"X-Request-Id: " + b"a" * 5000), OK),
    "request-id-8-bit": (get(b"X-Request-Id: \xff\xfe"), OK),
    "expect-other": (post(b"Expect: miracles", b"Content-Length: " + _N), OK | {417}),
    "expect-continue-too-long": (
        length(b"99999999999", b"").replace(b"Host", b"Expect: 100-continue\r\nHost"),
        frozenset({413}),
    ),
    "encoding-gzip": (post(b"Content-Encoding: gzip", b"Content-Length: " + _N), OK | REFUSED),
    **{
        f"8-bit-{name.lower()}": (
            post(name.encode() + b": \xff\xfe\x80", b"Content-Length: " + _N),
            OK | REFUSED | {406, 417},
        )
        for name in (
            *("Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Cache-Control"),
            *("Content-Encoding", "Content-Language", "Content-Type", "Cookie", "Date", "Expect"),
            *("Forwarded", "From", "If-Match", "If-Modified-Since", "Origin", "Pragma", "Range"),
            *("Referer", "Sec-Fetch-Site", "TE", "Trailer", "User-Agent", "Via", "Warning"),
            *("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"),
            *("Traceparent", "Yatai-Bento-Deployment-Name", "Bentoml-Payload-Meta"),
        )
    },
}

# Requests whose end is in doubt, each with a second one behind or in it that is not to be served.
SMUGGLED: Final[dict[str, bytes]] = {
    "cl-te": (
        b"POST /txt2img HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: " + str(5 + len(_SECOND)).encode() + b"\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _SECOND
    ),
    "te-cl": (
        b"POST /txt2img HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n"
        + f"{len(_SECOND):x}".encode()
        + b"\r\n"
        + _SECOND
        + b"\r\n0\r\n\r\n"
    ),
    "two-lengths": (
        b"POST /txt2img HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: 0\r\nContent-Length: "
        + str(len(_SECOND)).encode()
        + b"\r\n\r\n"
        + _SECOND
    ),
    "obscured-te": (
        b"POST /txt2img HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n"
        b"0\r\n\r\n" + _SECOND
    ),
    "get-with-a-body": (
        b"GET /models HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: "
        + str(len(_SECOND)).encode()
        + b"\r\n\r\n"
        + _SECOND
    ),
    "length-in-a-folded-line": (
        b"POST /txt2img HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"X-A: b\r\n Content-Length: 0\r\nContent-Length: "
        + str(len(_SECOND)).encode()
        + b"\r\n\r\n"
        + _SECOND
    ),
    "a-chunk-extension-with-a-newline": (
        b"POST /txt2img HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n2;\nxx\r\n" + f"{len(_SECOND):x}".encode() + b"\r\n"
        b"0\r\n\r\n" + _SECOND
    ),
}
