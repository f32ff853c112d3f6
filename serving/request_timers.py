"""BentoML's timer of each request: there is none here, as it outlives its request.

Nothing cancels it. What belongs to a request stayed in memory until its time was over, an hour as
that is above every deadline; and a request that ended without a response, as its client had left,
waited for its timer as a whole. The deadline (``SD_DEADLINE``) and the bounds of connections and
bodies limit the time of a request.
"""

from __future__ import annotations

import inspect
from functools import wraps
from typing import Any

from bentoml._internal.server.base_app import BaseAppFactory


def leave_out() -> None:
    """Have BentoML's servers in this process start none, whatever its configuration says.

    Call it before they are made. How long an API server waits for a runner stays as configured
    (``runners.traffic.timeout``).

    Raises:
        RuntimeError: BentoML is another one than this was made for.
    """
    original = BaseAppFactory.__init__
    if "timeout" not in inspect.signature(original).parameters:
        raise RuntimeError("bentoml's BaseAppFactory has no timeout")

    @wraps(original)
    def without_timeout(self: BaseAppFactory, *, timeout: float | None, **options: Any) -> None:
        original(self, **options)

    BaseAppFactory.__init__ = without_timeout
