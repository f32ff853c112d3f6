"""The limits of a denoiser pass: its rows, and how they change where memory runs out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace

# Steps of a quarter to a half: few enough to compile or capture each, and little padding.
BUCKETS = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)

PIXELS = 2 * 1024 * 1024  # eight rows of 512 x 512

# Full passes that must fit before more rows are tried again: a pass that does not fit costs about
# two, so that these trials cost 1 % at most.
RECOVERY_PASSES = 200
REMEMBERED = 64  # shapes that did not fit: clients choose the sizes


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The bounds of one pass.

    Attributes:
        rows: rows of the batch, >= 2; a job with guidance fills two.
        pixels: rows x picture pixels; a single job may exceed it, as it could never run
            otherwise.
        buckets: the numbers of rows that passes are padded to, ascending; empty for no padding.
        block: rows of the blocks that passes are cut into, even; a picture is then bit-identical,
            whatever it is batched with. None for passes in one piece.
        seconds: that a pass, or a piece of other work, may take, unless it is for a single job;
            None for no bound.
        own_pixels: what is in the place of ``pixels`` for a model, by its name: what a row takes
            depends on the model.
    """

    rows: int = 32
    pixels: int = PIXELS
    buckets: tuple[int, ...] = ()
    block: int | None = None
    seconds: float | None = None
    own_pixels: Mapping[str, int] = field(default_factory=dict)

    def of(self, model: str) -> BatchLimits:
        """The bounds of a pass of this model."""
        own = self.own_pixels.get(model)
        return self if own is None else replace(self, pixels=own, own_pixels={})

    def capacity(self, pixels: int) -> int:
        """Rows of a pass over pictures of this many pixels, >= 1."""
        rows = max(1, min(self.rows, self.pixels // pixels))
        if self.block is None:
            return rows
        block = self.block_rows(pixels)
        return max(block, rows // block * block)

    def block_rows(self, pixels: int) -> int:
        """Rows of a block over pictures of this many pixels: even, as a job may fill two."""
        rows = min(self.block or self.rows, self.rows, self.pixels // pixels)
        return max(2, rows // 2 * 2)

    def padded(self, rows: int, pixels: int) -> int:
        """Rows of the batch that ``rows`` rows in use are padded to."""
        if self.block is not None:
            block = self.block_rows(pixels)
            return -(-rows // block) * block
        bucket = next((size for size in self.buckets if size >= rows), rows)
        return max(rows, min(bucket, self.capacity(pixels)))


class RowBounds:
    """The rows of a pass that are known to fit into memory, for each shape.

    A pass that did not fit halves the bound of its shape. After ``RECOVERY_PASSES`` full passes it
    is raised again, as what took the memory may have gone.
    """

    def __init__(self) -> None:
        self._bounds: dict[Hashable, int] = {}
        self._full_passes: dict[Hashable, int] = {}

    def capacity(self, shape: Hashable, most: int) -> int:
        """Rows of a pass of this shape, >= 1 and no more than ``most``."""
        return min(most, self._bounds.get(shape, most))

    def overflowed(self, shape: Hashable, rows: int) -> None:
        """A pass with ``rows`` rows in use, padding aside, did not fit."""
        self._bounds.pop(shape, None)
        self._bounds[shape] = max(1, rows // 2)
        self._full_passes[shape] = 0
        if len(self._bounds) > REMEMBERED:
            self._forget(next(iter(self._bounds)))

    def fitted(self, shape: Hashable, rows: int, most: int) -> None:
        """A pass of ``rows`` rows did fit, and ``most`` are allowed."""
        # A job with guidance may leave one row free.
        if shape not in self._bounds or rows < self._bounds[shape] - 1:
            return
        self._full_passes[shape] += 1
        if self._full_passes[shape] >= RECOVERY_PASSES:
            self._full_passes[shape] = 0
            self._bounds[shape] *= 2
            if self._bounds[shape] >= most:
                self._forget(shape)

    def _forget(self, shape: Hashable) -> None:
        del self._bounds[shape], self._full_passes[shape]
