"""What becomes of an order, for the browser: the HTML of its stage, again and again."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from ui.refusal import Refusal
from ui.service import Service
from ui.stage import Stage

# As often as the eye can tell.
_SHOWN_SECONDS: Final = 0.25


async def watched(service: Service, ticket: str) -> AsyncGenerator[str, None]:
    """Server-sent events: the ``status`` and the ``pictures`` as HTML, and whether it is ``over``.

    Args:
        service: has the ticket.
        ticket: one that there is.
    """
    found = service.tickets.find(ticket)
    if found is None:
        return
    session, identifier = found
    stage, shown = Stage(), 0.0
    try:
        async with aclosing(session.watch(identifier)) as events:
            async for event in events:
                stage.tell(event)
                if stage.is_over or time.monotonic() - shown >= _SHOWN_SECONDS:
                    shown = time.monotonic()
                    yield _event(stage)
    except Refusal as refusal:
        if refusal.status is None:
            # The service is away for long: the browser comes back with the ticket, and asks again.
            return
        # Without it, the page looks at the order itself, and says why.
    service.tickets.end(ticket)


def _event(stage: Stage) -> str:
    told = {"status": stage.status(), "pictures": stage.pictures(), "over": stage.is_over}
    return f"data: {json.dumps(told)}\n\n"
