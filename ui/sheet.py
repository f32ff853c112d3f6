"""A sheet: pictures in columns and rows, with what differs between them at its edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw, ImageFont

# Of the sheet: what browsers show, and what makes 50 MB of pixels.
MAX_SIDE: Final = 4096
_MIN_CELL: Final = 160
# For the pictures, of a side: labels and gaps have the rest.
_ROOM: Final = 0.84 * MAX_SIDE
_GAP: Final = 4
_PAPER, _INK, _FAINT, _EMPTY = "#ffffff", "#1f2937", "#6b7280", "#e5e7eb"

Place = tuple[int, int]
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class Edge:
    """What stands along an edge: the title of the parameter, and a label for each value."""

    title: str
    labels: Sequence[str]


def compose(
    across: Edge, down: Edge | None, cells: Mapping[Place, Image.Image], notes: Mapping[Place, str]
) -> Image.Image:
    """The sheet, white with dark letters.

    Args:
        across: of the columns.
        down: of the rows; None for a single row without a label.
        cells: the pictures, by column and row; those that are not there stay grey.
        notes: why one is not there, a few words.

    Returns:
        An RGB picture with no side above ``MAX_SIDE``. Small pictures are enlarged, all by as much.
    """
    columns, rows = len(across.labels), 1 if down is None else len(down.labels)
    width = max((cell.width for cell in cells.values()), default=_MIN_CELL)
    height = max((cell.height for cell in cells.values()), default=_MIN_CELL)
    scale = max(1, -(-_MIN_CELL // width))
    scale = min(scale, _ROOM / (columns * width), _ROOM / (rows * height))
    cell = max(1, int(width * scale)), max(1, int(height * scale))
    font = _font(min(32, max(14, cell[0] // 16)))
    line = _height(font)
    left = 0 if down is None else min(int(0.13 * MAX_SIDE), 2 * _GAP + _widest(font, down))
    top = 2 * line + 4 * _GAP
    size = (left + columns * (cell[0] + _GAP) + _GAP, top + rows * (cell[1] + _GAP) + _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    middle = left + (size[0] - left) // 2
    draw.text((middle, _GAP), _cut(across.title, font, size[0] - left), _FAINT, font, anchor="ma")
    if down is not None:
        draw.text((_GAP, top - 2 * _GAP), _cut(down.title, font, left - _GAP), _FAINT, font, "ld")
    for column, text in enumerate(across.labels):
        x = left + _GAP + column * (cell[0] + _GAP) + cell[0] // 2
        draw.text((x, line + 2 * _GAP), _cut(text, font, cell[0]), _INK, font, anchor="ma")
    for row, text in enumerate(() if down is None else down.labels):
        y = top + row * (cell[1] + _GAP) + cell[1] // 2
        draw.text((left - _GAP, y), _cut(text, font, left - 2 * _GAP), _INK, font, anchor="rm")
    for column in range(columns):
        for row in range(rows):
            x, y = left + _GAP + column * (cell[0] + _GAP), top + row * (cell[1] + _GAP)
            picture = cells.get((column, row))
            if picture is None:
                draw.rectangle((x, y, x + cell[0] - 1, y + cell[1] - 1), _EMPTY)
                note = _cut(notes.get((column, row), ""), font, cell[0] - 2 * _GAP)
                draw.text((x + cell[0] // 2, y + cell[1] // 2), note, _FAINT, font, anchor="mm")
                continue
            shown = picture.convert("RGB").resize(
                (max(1, int(picture.width * scale)), max(1, int(picture.height * scale))),
                Image.Resampling.LANCZOS,
            )
            sheet.paste(
                shown, (x + (cell[0] - shown.width) // 2, y + (cell[1] - shown.height) // 2)
            )
    return sheet


def fitted(picture: Image.Image, columns: int, rows: int) -> Image.Image:
    """A picture no larger than a sheet of so many has room for: what it need not keep."""
    shown = picture.convert("RGB")
    shown.thumbnail((int(_ROOM / columns), int(_ROOM / rows)), Image.Resampling.LANCZOS)
    return shown


def _font(size: int) -> _Font:
    """The one that Pillow brings: no file of the machine is looked for."""
    return ImageFont.load_default(size)


def _height(font: _Font) -> int:
    box = font.getbbox("Ågy")
    return int(box[3] - box[1]) + 2


def _widest(font: _Font, edge: Edge) -> int:
    return int(max(font.getlength(text) for text in (edge.title, *edge.labels))) + 2 * _GAP


def _cut(text: str, font: _Font, width: float) -> str:
    """As much of a line as fits, with an ellipsis where that is not all of it."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    kept = len(text)
    while kept and font.getlength(f"{text[:kept]}…") > width:
        kept -= max(1, kept // 8)
    return f"{text[:kept]}…" if kept > 0 else ""
