"""The texts in picture files: those of a PNG, and the user's comment in the EXIF of the others.

Nothing is decoded: a file is walked by the lengths in it, and what does not fit is not there.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from api.decoding.structure import MAX_CHUNKS
from contract.errors import ErrorCode, RequestError

PARAMETERS: Final = "parameters"
# Of all texts of a file.
MAX_TEXT: Final = 1024 * 1024
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286


def read(field: str, data: bytes) -> dict[str, str]:
    """The texts of a file by their keywords, the first of each; the user's comment is
    ``parameters``.

    Args:
        field: what the client calls the file.
        data: the file.

    Raises:
        RequestError: UNSUPPORTED_MEDIA_TYPE for what is neither PNG, JPEG nor WebP,
            PAYLOAD_TOO_LARGE for too much text.
    """
    texts: dict[str, str] = {}
    room = MAX_TEXT
    for keyword, text in _texts(field, data):
        room -= len(keyword) + len(text)
        if room < 0:
            raise _too_much(field)
        texts.setdefault(keyword, text)
    return texts


def with_parameters(png: bytes, text: str) -> bytes:
    """A PNG of ours with other parameters."""
    try:
        kind, content = b"tEXt", text.encode("latin-1")
        body = PARAMETERS.encode() + b"\0" + content
    except UnicodeEncodeError:
        # Keyword, no compression, no language.
        kind, body = b"iTXt", PARAMETERS.encode() + b"\0\0\0\0\0" + text.encode()
    pieces = [_PNG]
    for name, start, end in _chunks(png):
        if name in (b"tEXt", b"iTXt") and png[start:end].startswith(PARAMETERS.encode() + b"\0"):
            continue
        pieces.append(png[start - 8 : end + 4])
        if name == b"IHDR":
            checksum = struct.pack(">I", zlib.crc32(kind + body))
            pieces.append(struct.pack(">I", len(body)) + kind + body + checksum)
    return b"".join(pieces)


def _texts(field: str, data: bytes) -> Iterator[tuple[str, str]]:
    if data.startswith(_PNG):
        for name, start, end in _chunks(data):
            if name in (b"tEXt", b"zTXt", b"iTXt"):
                found = _text_of(field, name, data[start:end])
                if found is not None:
                    yield found
            elif name == b"eXIf":
                yield from _comment(data[start:end])
    elif data.startswith(b"\xff\xd8\xff"):
        yield from _comment(_exif_of_jpeg(data))
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        yield from _comment(_exif_of_webp(data))
    else:
        raise RequestError(
            ErrorCode.UNSUPPORTED_MEDIA_TYPE,
            f"{field} must be a picture in one of the formats PNG, JPEG, WEBP",
            field=field,
        )


def _chunks(png: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each chunk's content; https://www.w3.org/TR/png-3/#5Chunk-layout."""
    position = len(_PNG)
    for _ in range(MAX_CHUNKS):
        if position + 12 > len(png):
            return
        length = int.from_bytes(png[position : position + 4])
        start = position + 8
        if start + length + 4 > len(png):
            return
        yield png[position + 4 : start], start, start + length
        position = start + length + 4


def _text_of(field: str, kind: bytes, chunk: bytes) -> tuple[str, str] | None:
    keyword, _, rest = chunk.partition(b"\0")
    name = keyword.decode("latin-1")
    if kind == b"tEXt":
        return name, rest.decode("latin-1")
    if kind == b"zTXt":
        inflated = _inflated(field, rest[1:])
        return None if inflated is None else (name, inflated.decode("latin-1"))
    compressed, content = rest[:1] == b"\1", rest[2:].split(b"\0", 2)
    if len(content) < 3:
        return None
    text = _inflated(field, content[2]) if compressed else content[2]
    return None if text is None else (name, text.decode("utf-8", "replace"))


def _inflated(field: str, data: bytes) -> bytes | None:
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(data, MAX_TEXT)
    except zlib.error:
        return None
    if inflater.unconsumed_tail:
        raise _too_much(field)
    return text


def _exif_of_jpeg(data: bytes) -> bytes:
    """The EXIF of a JPEG: ITU T.81, annex B, and EXIF 2.32, 4.7.2."""
    position = 2
    for _ in range(MAX_CHUNKS):
        head = data[position : position + 4]
        # Behind the start of a scan, and where no segment begins, there is none.
        if len(head) < 4 or head[0] != 0xFF or head[1] in (0xDA, 0xD9):
            break
        end = position + 2 + int.from_bytes(head[2:])
        if head[1] == 0xE1 and data[position + 4 : position + 10] == b"Exif\0\0":
            return data[position + 10 : end]
        position = end
    return b""


def _exif_of_webp(data: bytes) -> bytes:
    position = 12
    for _ in range(MAX_CHUNKS):
        head = data[position : position + 8]
        if len(head) < 8:
            break
        size = int.from_bytes(head[4:], "little")
        if head[:4] == b"EXIF":
            return data[position + 8 : position + 8 + size].removeprefix(b"Exif\0\0")
        position += 8 + size + size % 2
    return b""


def _comment(exif: bytes) -> Iterator[tuple[str, str]]:
    """The user's comment: TIFF 6.0, section 2, and EXIF 2.32, 4.6.5."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return
    (first,) = struct.unpack(f"{order}I", exif[4:8])
    place = _entry(exif, order, first, _EXIF_IFD)
    if place is None:
        return
    found = _entry(exif, order, place[1], _USER_COMMENT)
    if found is None:
        return
    # Of a longer one, enough to refuse it.
    comment = exif[found[1] : found[1] + min(found[0], 2 * MAX_TEXT + 16)]
    if comment.startswith(b"UNICODE\0"):
        # In the byte order of the file, but for writers (piexif) that know one alone.
        texts = [comment[8:].decode(name, "replace") for name in ("utf-16-be", "utf-16-le")]
        yield PARAMETERS, max(texts, key=_latin)
    else:
        yield PARAMETERS, comment[8:].decode("utf-8", "replace")


def _latin(text: str) -> int:
    """How many of the last characters, which are names and numbers, are Latin ones."""
    return sum(character < "\u0250" for character in text[-1000:])


def _entry(exif: bytes, order: str, start: int, tag: int) -> tuple[int, int] | None:
    """The count and the value of an entry of the directory that begins at ``start``."""
    if start + 2 > len(exif):
        return None
    (entries,) = struct.unpack(f"{order}H", exif[start : start + 2])
    for number in range(entries):
        entry = exif[start + 2 + 12 * number : start + 14 + 12 * number]
        if len(entry) < 12:
            return None
        found, _, count, value = struct.unpack(f"{order}HHII", entry)
        if found == tag:
            return count, value
    return None


def _too_much(field: str) -> RequestError:
    return RequestError(
        ErrorCode.PAYLOAD_TOO_LARGE,
        f"{field} must have at most {MAX_TEXT} characters of text, got more",
        field=field,
    )
