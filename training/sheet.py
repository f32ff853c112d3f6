"""Contact sheets: labelled grids of pictures."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

_INK, _PAPER, _GAP = (40, 40, 40), (255, 255, 255), 10


def contact_sheet(
    labels: Sequence[str], pictures: Sequence[Image.Image], *, columns: int, side: int
) -> Image.Image:
    """Pictures fitted into squares of `side` pixels, each with its label on up to two lines."""
    font = ImageFont.load_default(size=max(10, side // 11))
    line = max(10, side // 11) + 3
    cell = (side + _GAP, side + 2 * line + _GAP)
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * cell[0] + _GAP, rows * cell[1] + _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, (label, picture) in enumerate(zip(labels, pictures, strict=True)):
        left = _GAP + number % columns * cell[0]
        top = _GAP + number // columns * cell[1]
        sheet.paste(ImageOps.pad(picture, (side, side), color=_PAPER), (left, top))
        for row, words in enumerate(_wrapped(label, pen, font, side)):
            centre = left + side // 2
            pen.text((centre, top + side + 2 + row * line), words, _INK, font, anchor="ma")
    return sheet


def _wrapped(
    text: str,
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    width: int,
) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if pen.textlength(longer, font) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines[:2]
