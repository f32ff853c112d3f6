"""The autoscaling policy: as many replicas as the work that waits asks for.

Requests say little: one may be a preview of 4 steps or eight pictures of 50. Ray carries this
module into the controller by its text, so it imports the standard library alone.
"""

from __future__ import annotations

import math
from typing import Any

# What a replica reports under this name, see ``record_autoscaling_stats`` of the engine.
ROW_STEPS = "row_steps"
# Of a request whose work is not known, as no replica has it yet: 20 steps with guidance.
ROW_STEPS_PER_REQUEST = 40.0


class WorkPolicy:
    """Replicas for the row-steps in front of a deployment, an ``AutoscalingPolicy`` of Ray Serve.

    Delays, factors and bounds are Serve's own, around this.

    Args:
        target_row_steps: what one replica may have in front of it, above 0.
        row_steps_per_request: of requests that no replica has yet, whose work is not known.
    """

    def __init__(self, target_row_steps: float, row_steps_per_request: float) -> None:
        self._target = target_row_steps
        self._per_request = row_steps_per_request

    def __call__(self, ctx: Any) -> tuple[int, dict[str, Any]]:
        """The number of replicas that are wanted, and no state."""
        of_replicas = (ctx.aggregated_metrics or {}).get(ROW_STEPS, {})
        waiting = ctx.total_queued_requests or 0
        row_steps = sum(of_replicas.values()) + waiting * self._per_request
        wanted = math.ceil(row_steps / self._target)
        if ctx.total_num_requests > 0 or row_steps > 0:
            wanted = max(wanted, 1)
        return wanted, {}
