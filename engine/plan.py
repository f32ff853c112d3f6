"""The plan: one stage, and the jobs that it is to carry on."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum

from engine.job import Job, SizeClass


class Stage(StrEnum):
    """The stages that the engine's thread runs."""

    ENCODE = "encode"
    DENOISE = "denoise"
    DECODE = "decode"


@dataclass(frozen=True, slots=True)
class SizeRows:
    """The rows of the pictures of one size in a denoiser pass.

    Attributes:
        size_class: of the jobs; likewise the ``shape`` of their tensors.
        rows: that are in use.
        weight: of one of them in the work, in any unit above 0.
        whole: rows of this size that would take as much of a pass as all that is in this one.
    """

    size_class: SizeClass
    shape: Hashable
    rows: int
    weight: float
    whole: int

    @property
    def pixels(self) -> int:
        """Of a picture."""
        _, width, height = self.size_class
        return width * height


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do next.

    Attributes:
        stage: which stage.
        model: the name of the jobs' model.
        jobs: at least one; but for ``ENCODE``, of one shape, and for ``DECODE`` of one picture
            shape. The tenant of the first has its turn.
        shares: of each job in the work, in any unit above 0.
        pixels: of the given pictures to encode, or of the pictures to decode.
        job_rows: of a denoiser pass: rows that each job fills.
        rows: of a denoiser pass: rows of the batch, padding included.
        shape: of a denoiser pass: the jobs' one; likewise their ``sizes``, that of the first job
            first.
    """

    stage: Stage
    model: str
    jobs: tuple[Job, ...]
    shares: tuple[float, ...]
    pixels: int = 0
    job_rows: tuple[int, ...] = ()
    rows: int = 0
    shape: Hashable = None
    sizes: tuple[SizeRows, ...] = ()
