"""Ray Serve's autoscaler on paper, around the policy that the service has there.

What is here is what Ray Serve 2.60 does around a policy: measurements are averaged over a while, a
change must be wanted for a while, the first replica comes at once, the last one goes alone.
"""

from __future__ import annotations

import math
from collections import deque
from types import SimpleNamespace
from typing import Any

from deployment.ray.arguments import EngineOptions
from deployment.ray.policy import ROW_STEPS, ROW_STEPS_PER_REQUEST, WorkPolicy


class Average:
    """The mean of the last measurements.

    Args:
        length: how many.
    """

    def __init__(self, length: int) -> None:
        self._values: deque[float] = deque(maxlen=length)

    def add(self, value: float) -> float:
        """The mean with this one."""
        self._values.append(value)
        return math.fsum(self._values) / len(self._values)


class Autoscaler:
    """Decides how many replicas there are to be.

    Args:
        options: those of the engine deployment.
        look_seconds: how often it is asked.

    Attributes:
        target: how many there are to be.
    """

    def __init__(self, options: EngineOptions, look_seconds: float) -> None:
        self.target = options.min_replicas
        self._options = options
        self._length = max(1, round(options.look_back / look_seconds))
        self._policy = WorkPolicy(options.target_row_steps, ROW_STEPS_PER_REQUEST)
        self._work: dict[str, Average] = {}
        self._waiting = Average(self._length)
        self._requests = Average(self._length)
        self._wanted_since: float | None = None
        self._wanted_more = False

    def look(self, now: float, work: dict[str, float], waiting: int, requests: int) -> int:
        """The replicas that there are to be from now on.

        Args:
            now: seconds.
            work: row-steps in front of each replica that is ready, by its name.
            waiting: requests that no replica has.
            requests: all of them.
        """
        self._work = {name: self._work.get(name) or Average(self._length) for name in work}
        context = SimpleNamespace(
            aggregated_metrics={
                ROW_STEPS: {name: self._work[name].add(left) for name, left in work.items()}
            },
            total_queued_requests=self._waiting.add(waiting),
            total_num_requests=self._requests.add(requests),
        )
        if not work and context.total_num_requests > 0:
            wanted, delay = max(1, self.target), 0.0
        else:
            wanted = self._wanted(context, len(work))
            delay = self._delay(wanted)
        options = self._options
        wanted = min(max(wanted, options.min_replicas), options.max_replicas)
        if self._lasts(now, wanted, delay):
            self.target = wanted
        return self.target

    def _wanted(self, context: Any, running: int) -> int:
        if self._options.policy == "work":
            wanted, _ = self._policy(context)
        elif running:
            # Serve's own policy, of which a share of a replica is one more.
            wanted = math.ceil(context.total_num_requests / self._options.target_requests)
        else:
            wanted = self.target
        # Only one is followed by none.
        return max(1, wanted) if self.target > 1 else wanted

    def _delay(self, wanted: int) -> float:
        more = wanted > self.target
        return self._options.upscale_delay if more else self._options.downscale_delay

    def _lasts(self, now: float, wanted: int, delay: float) -> bool:
        """Whether a change in this direction was wanted for so long, without a break."""
        if wanted == self.target:
            self._wanted_since = None
            return False
        more = wanted > self.target
        if self._wanted_since is None or more != self._wanted_more:
            self._wanted_since, self._wanted_more = now, more
        if now - self._wanted_since < delay:
            return False
        self._wanted_since = None
        return True
