"""The delivery of a request: what of its events reaches the client, whichever replicas sent them.

A replica may be lost at any moment. Another one then runs what is missing, from the beginning: it
makes the same pictures, as a request decides them alone.
"""

from __future__ import annotations

from dataclasses import replace

from contract.events import Event, Image, Progress, Queued
from contract.request import GenerationRequest


class Delivery:
    """Passes on what is new to the client, and knows what is missing.

    Args:
        request: as the client has sent it.
    """

    def __init__(self, request: GenerationRequest) -> None:
        self._request = request
        self._missing = set(range(request.num_images))
        self._first = 0  # which picture is the first of the current attempt
        self._place: int | None = None
        self._steps: dict[int, int] = {}

    def attempt(self, deadline: float) -> GenerationRequest:
        """What the next replica is asked for: the pictures from the first that is missing to the
        last.

        Args:
            deadline: seconds that it may take.
        """
        self._first, last = min(self._missing), max(self._missing)
        prompts = self._request.prompts[self._first : last + 1]
        return replace(
            self._request,
            prompt=prompts[0] if prompts else self._request.prompt,
            prompts=prompts,
            seed=self._request.seed + self._first,
            num_images=last + 1 - self._first,
            deadline=deadline,
        )

    def pass_on(self, event: Event) -> Event | None:
        """The event as the client is to see it; None for one that tells it nothing new.

        The number of those in front and that of steps done never go back, and each picture comes
        once.
        """
        match event:
            case Queued(position):
                if self._steps or (self._place is not None and position >= self._place):
                    return None
                self._place = position
                return event
            case Progress(step=step):
                index = self._first + event.index
                if index not in self._missing or step <= self._steps.get(index, 0):
                    return None
                self._steps[index] = step
                return replace(event, index=index)
            case Image():
                index = self._first + event.index
                if index not in self._missing:
                    return None
                self._missing.discard(index)
                return replace(event, index=index, last=not self._missing)
            case _:
                return event
