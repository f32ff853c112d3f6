"""Sheets of pictures with labels, and small pictures."""

from __future__ import annotations

import asyncio
from io import BytesIO

import pytest
from PIL import Image

from ui.sheet import MAX_SIDE, Edge, compose, fitted
from ui.thumbnails import SIDE, Thumbnails, small

RED, BLUE = (200, 0, 0), (0, 0, 200)


def coloured(size: tuple[int, int], colour: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", size, colour)


def file(size: tuple[int, int] = (600, 300), kind: str = "PNG") -> bytes:
    written = BytesIO()
    coloured(size, RED).save(written, kind)
    return written.getvalue()


def test_each_picture_is_in_its_place() -> None:
    cells = {(0, 0): coloured((320, 160), RED), (2, 1): coloured((320, 160), BLUE)}
    sheet = compose(
        Edge("Seed", ["1", "2", "3"]),
        Edge("Scheduler", ["ddim", "euler"]),
        cells,
        {(1, 1): "Failed"},
    )
    assert sheet.mode == "RGB"
    places = {
        colour: [
            (x, y)
            for x in range(0, sheet.width, 8)
            for y in range(0, sheet.height, 8)
            if sheet.getpixel((x, y)) == colour
        ]
        for colour in (RED, BLUE)
    }
    (left, top), (right, bottom) = places[RED][0], places[BLUE][-1]
    # They begin right of the rows' labels and below the columns', and end at the far corner.
    assert 60 < left < 200
    assert 30 < top < 100
    assert (sheet.width - right, sheet.height - bottom) < (16, 16)
    assert max(x for x, _ in places[RED]) < min(x for x, _ in places[BLUE])
    # The labels: where they are, not all is white.
    assert len(sheet.crop((0, 0, sheet.width, top - 8)).getcolors(1000) or ()) > 2
    assert len(sheet.crop((0, top, left - 8, sheet.height)).getcolors(1000) or ()) > 2


def test_a_sheet_is_never_too_large_and_small_pictures_grow() -> None:
    tiny = compose(Edge("Steps", ["a label that is far longer than its column"]), None, {}, {})
    assert tiny.width < 250
    small_ones = {(0, 0): coloured((64, 64), RED)}
    assert compose(Edge("Steps", ["1"]), None, small_ones, {}).width > 160
    large = fitted(coloured((2048, 2048), RED), 12, 5)
    assert large.width * 12 <= MAX_SIDE
    labels = ["a very long label " * 9] * 5
    cells = {(column, row): large for column in range(12) for row in range(5)}
    sheet = compose(Edge("Steps", [str(n) for n in range(12)]), Edge("Words", labels), cells, {})
    assert max(sheet.size) <= MAX_SIDE
    wide = {(0, 0): fitted(coloured((2048, 64), RED), 1, 12)}
    assert max(compose(Edge("", [""]), Edge("y", ["1"] * 12), wide, {}).size) <= MAX_SIDE


def test_small_pictures_are_made_once_and_kept_while_there_is_room() -> None:
    for kind in ("PNG", "JPEG", "WEBP"):
        with Image.open(BytesIO(small(file(kind=kind)))) as made:
            assert (made.format, made.size) == ("WEBP", (SIDE, SIDE // 2))
    for broken, why in (
        (b"", "cannot identify"),
        (b"GIF89a", "cannot identify"),
        (file()[:60], "broken|truncated"),
        (file((5000, 5000)), "too large"),
    ):
        with pytest.raises(OSError, match=why):
            small(broken)

    async def story() -> None:
        fetched: list[str] = []
        kept = Thumbnails(room=2 * len(small(file())))

        async def show(name: str) -> bytes:
            async def fetch() -> bytes:
                fetched.append(name)
                return file()

            return await kept.of(name, fetch)

        for name in ("a", "b", "a", "c", "a", "b"):
            await show(name)
        assert fetched == ["a", "b", "c", "b"]
        assert kept.kept("c") is None
        kept.forget("a")
        await asyncio.gather(*(show("a") for _ in range(5)))
        assert fetched.count("a") == 2

    asyncio.run(story())
