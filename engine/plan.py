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
class Plan:
    """What to do next.

    Attributes:
        stage: which stage.
        model: the name of the jobs' model.
        jobs: at least one; but for ``ENCODE``, of one shape. The tenant of the first has its turn.
        shares: of each job in the work, in any unit above 0.
        pixels: of the given pictures to encode, or of the pictures to decode.
        job_rows: of a denoiser pass: rows that each job fills.
        rows: of a denoiser pass: rows of the batch, padding included.
        shape: of a denoiser pass: the jobs' one; likewise ``size_class``.
    """

    stage: Stage
    model: str
    jobs: tuple[Job, ...]
    shares: tuple[float, ...]
    pixels: int = 0
    job_rows: tuple[int, ...] = ()
    rows: int = 0
    shape: Hashable = None
    size_class: SizeClass | None = None
