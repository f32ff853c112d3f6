"""A plan for people to read."""

from __future__ import annotations

from training.dreambooth.base import find_base, side_of, weights_precision
from training.dreambooth.options import Options
from training.dreambooth.plan import Plan

_COLUMNS = ("weights", "LoRA", "gradients", "optimiser", "activations")
_GB = 1e9


def plan_table(plan: Plan, options: Options) -> str:
    """All stages in GB (1e9 bytes), the peak, and what is not in it."""
    side = side_of(find_base(options), options)
    rows: list[tuple[str, ...]] = [("GB", *_COLUMNS, "sum")]
    rows += [
        (
            stage.name,
            *(_gigabytes(stage.parts.get(name)) for name in _COLUMNS),
            _gigabytes(stage.total),
        )
        for stage in plan.stages
    ]
    first = max(len(row[0]) for row in rows)
    widths = [max(len(row[column]) for row in rows) for column in range(1, len(rows[0]))]
    lines = [
        "  ".join(
            [
                row[0].ljust(first),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths, strict=True)),
            ]
        )
        for row in rows
    ]
    kind = "all weights" if options.full else f"LoRA of rank {options.rank}"
    checkpointing = "with" if options.gradient_checkpointing else "without"
    peak = plan.peak
    return "\n".join(
        [
            f"{options.base}, {side} x {side}, batch {options.batch_size}"
            + (" and as many of the class" if options.prior_preservation else "")
            + f", weights in {weights_precision(options)}, {kind} "
            f"({plan.trained / 1e6:.1f} M parameters), {options.optimizer}, {checkpointing} "
            "gradient checkpointing",
            "",
            *lines,
            "",
            f"expected peak: {peak.total / _GB:.1f} GB ({peak.name})",
            "Not in it: CUDA's own context and kernels' workspaces (about 1 GB), fragmentation.",
        ]
    )


def _gigabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / _GB:.2f}"
