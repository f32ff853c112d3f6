"""The drawing of the architecture, made of the code's imports: ``python -m docs.architecture``."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from itertools import permutations
from pathlib import Path
from typing import TypeAlias

import grimp

ROOT = Path(__file__).resolve().parent.parent
DRAWING = ROOT / "docs" / "images" / "architecture.svg"
# The package whose sub-packages are shown one by one, and what stands for its own modules.
OPEN = "engine"
OWN_MODULES = f"{OPEN}/*.py"

# Pixels.
MARGIN, GAP, BAR, LANE = 12, 44, 34, 14
ROOM_WIDTH, ROOM_GAP, ARCS_ABOVE, ARCS_BELOW = 118, 14, 110, 80
DOWN, UP, INK = "#3b6ea5", "#c4622d", "#1f2933"

Imports: TypeAlias = Mapping[tuple[str, str], int]
Slots: TypeAlias = Mapping[tuple[str, tuple[str, str]], float]  # x, by part and arrow


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with a name, in pixels from the top left corner."""

    name: str
    x: float
    y: float
    width: float
    height: float = BAR

    @property
    def bottom(self) -> float:
        return self.y + self.height

    def slot(self, index: int, of: int) -> float:
        """The x of one of several arrows along a side."""
        return self.x + self.width * (index + 1) / (of + 1)


def layers() -> list[str]:
    """The packages that serve, from the hosts down: those of the contract in pyproject.toml."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    names: list[str] = next(one["layers"] for one in contracts if one["type"] == "layers")
    return names


def count_imports(packages: Iterable[str]) -> Imports:
    """How many modules of one part import how many of another, by the parts' names.

    A package within another stands for itself alone.
    """
    packages = tuple(packages)
    roots = dict.fromkeys(package.partition(".")[0] for package in packages)
    graph = grimp.build_graph(*roots, cache_dir=None)
    rooms = {child for child in graph.find_children(OPEN) if graph.find_children(child)}

    def part(module: str) -> str:
        package = next(one for one in packages if f"{module}.".startswith(f"{one}."))
        if package != OPEN:
            return package
        room = ".".join(module.split(".")[:2])
        return room.partition(".")[2] if room in rooms else OWN_MODULES

    shown = [
        module
        for module in graph.modules
        if any(f"{module}.".startswith(f"{one}.") for one in packages)
    ]
    counted = Counter(
        (part(module), part(imported))
        for module in shown
        for imported in graph.find_modules_directly_imported_by(module) & {*shown}
    )
    return {pair: count for pair, count in sorted(counted.items()) if pair[0] != pair[1]}


def ordered_rooms(imports: Imports, packages: Iterable[str]) -> list[str]:
    """The parts of the open package, its own modules first, in the order that the fewest imports go
    against; of several such orders the one with the shortest arrows."""
    rooms = {name for pair in imports for name in pair} - {*packages, OWN_MODULES}
    within = {pair: count for pair, count in imports.items() if rooms.issuperset(pair)}

    def cost(order: tuple[str, ...]) -> tuple[int, int]:
        place = {room: index for index, room in enumerate(order)}
        spans = {pair: place[pair[1]] - place[pair[0]] for pair in within}
        against = sum(within[pair] for pair, span in spans.items() if span < 0)
        return against, sum(map(abs, spans.values()))

    return [OWN_MODULES, *min(permutations(sorted(rooms)), key=cost)]


def draw() -> str:
    """The drawing as SVG."""
    packages = layers()
    imports = count_imports(packages)
    rooms = ordered_rooms(imports, packages)
    # Arrows between whole packages have a column of their own, with a lane for each.
    spine = [pair for pair in imports if pair[0] in packages and pair[1] in packages]
    spine.sort(key=lambda pair: (packages.index(pair[0]), -packages.index(pair[1])))
    spine_width = LANE * (len(spine) + 1)
    width = spine_width + len(rooms) * (ROOM_WIDTH + ROOM_GAP) + ROOM_GAP
    bars: dict[str, Box] = {}
    y = float(MARGIN)
    for name in packages:
        height = BAR + (ARCS_ABOVE + ARCS_BELOW + BAR if name == OPEN else 0)
        bars[name] = Box(name, MARGIN, y, width, height)
        y += height + GAP
    top = bars[OPEN].y + BAR + ARCS_ABOVE
    left = MARGIN + spine_width + ROOM_GAP
    boxes = bars | {
        name: Box(name, left + place * (ROOM_WIDTH + ROOM_GAP), top, ROOM_WIDTH)
        for place, name in enumerate(rooms)
    }
    lanes = {pair: MARGIN + LANE * (lane + 1) for lane, pair in enumerate(spine)}
    slots = _slots(boxes, rooms, imports)
    shapes = [_rectangle(bars[OPEN])]
    for pair in imports:
        room = next((name for name in pair if name in rooms), None)
        if not {*pair} <= {*rooms}:
            x = lanes[pair] if room is None else slots[room, pair]
            shapes.append(_line(x, boxes, pair, imports))
    # A line to a package further down passes behind those between.
    shapes += [_rectangle(box) for name, box in bars.items() if name != OPEN]
    shapes += [_arc(slots, boxes, rooms, pair, imports) for pair in imports if {*pair} <= {*rooms}]
    shapes += [_rectangle(boxes[name], fill="#ffffff") for name in rooms]
    size = f'width="{width + 2 * MARGIN}" height="{y - GAP + MARGIN:g}"'
    return "\n".join([_HEAD.format(size=size), *shapes, "</svg>", ""])


def _slots(boxes: Mapping[str, Box], rooms: list[str], imports: Imports) -> Slots:
    """Where arrows begin or end along the sides of the parts of the open package."""
    above: dict[str, list[tuple[str, str]]] = {room: [] for room in rooms}
    below: dict[str, list[tuple[str, str]]] = {room: [] for room in rooms}
    for pair in imports:
        inside = [name for name in pair if name in rooms]
        if len(inside) == 2:
            side = above if rooms.index(pair[0]) < rooms.index(pair[1]) else below
        else:
            side = above if pair[1] in rooms else below
        for name in inside:
            side[name].append(pair)

    def order(room: str, pair: tuple[str, str]) -> tuple[int, float]:
        """Arrows to the left first, the nearest of them leftmost; then straight ones; then those to
        the right, the nearest of them rightmost: so that they do not cross."""
        other = pair[0] if pair[1] == room else pair[1]
        if other not in rooms:
            return 1, boxes[other].y
        distance = rooms.index(other) - rooms.index(room)
        return (0 if distance < 0 else 2), -distance

    return {
        (room, pair): boxes[room].slot(index, len(pairs))
        for side in (above, below)
        for room, pairs in side.items()
        for index, pair in enumerate(sorted(pairs, key=lambda each: order(room, each)))
    }


def _line(x: float, boxes: Mapping[str, Box], pair: tuple[str, str], imports: Imports) -> str:
    start, end = boxes[pair[0]].bottom, boxes[pair[1]].y
    return _path(f"M{x:.1f} {start:g}V{end - 5:g}", DOWN, pair, imports)


def _arc(
    slots: Slots,
    boxes: Mapping[str, Box],
    rooms: list[str],
    pair: tuple[str, str],
    imports: Imports,
) -> str:
    """Above the parts in their order, below against it; the longer, the higher."""
    x, to, box = slots[pair[0], pair], slots[pair[1], pair], boxes[pair[0]]
    apart = abs(rooms.index(pair[0]) - rooms.index(pair[1]))
    if to > x:
        edge, height, colour, tip = box.y, -ARCS_ABOVE, DOWN, -5
    else:
        edge, height, colour, tip = box.bottom, ARCS_BELOW, UP, 5
    # A Bézier curve reaches three quarters of the height of its control points.
    peak = edge + height * 4 / 3 * (0.15 + 0.8 * apart / len(rooms))
    curve = f"M{x:.1f} {edge:g}C{x:.1f} {peak:.1f} {to:.1f} {peak:.1f} {to:.1f} {edge + tip:g}"
    return _path(curve, colour, pair, imports)


def _path(path: str, colour: str, pair: tuple[str, str], imports: Imports) -> str:
    # In powers of two, so that the drawing stays the same with one import more.
    weight = 0.5 + 0.7 * imports[pair].bit_length()
    title = escape(f"{pair[0]} imports {pair[1]}")
    head = "down" if colour == DOWN else "up"
    return (
        f'<path d="{path}" stroke="{colour}" stroke-width="{weight:.1f}" '
        f'marker-end="url(#{head})"><title>{title}</title></path>'
    )


def _rectangle(box: Box, fill: str = "#eef2f7") -> str:
    x = box.x + box.width / 2
    y = box.y + BAR / 2 + 5
    return (
        f'<rect x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" rx="5" '
        f'fill="{fill}" stroke="{INK}"/>'
        f'<text x="{x:g}" y="{y:g}" text-anchor="middle">{escape(box.name)}</text>'
    )


_HEAD = f"""<svg xmlns="http://www.w3.org/2000/svg" {{size}} fill="none" font-size="14" \
font-family="sans-serif">
<title>The packages that serve, and which imports which</title>
<style>text {{{{ fill: {INK} }}}}</style>
<defs>
<marker id="down" markerUnits="userSpaceOnUse" markerWidth="8" markerHeight="8" refX="1" refY="4" \
orient="auto"><path d="M0 0L8 4L0 8z" fill="{DOWN}"/></marker>
<marker id="up" markerUnits="userSpaceOnUse" markerWidth="8" markerHeight="8" refX="1" refY="4" \
orient="auto"><path d="M0 0L8 4L0 8z" fill="{UP}"/></marker>
</defs>
<rect width="100%" height="100%" fill="#ffffff"/>"""


if __name__ == "__main__":
    DRAWING.write_text(draw(), encoding="utf-8")
