"""The stage: how an order stands, from its events to what is shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from html import escape

from ui import cards
from ui.prediction import Event, Prediction

_ENDINGS = {
    "canceled": "It was cancelled.",
    "failed": "It failed.",
    "aborted": "It was cancelled.",
}
NOTHING = '<p class="sd-empty">Your pictures appear here.</p>'


class Stage:
    """What is known of an order.

    Args:
        clock: seconds, to say how long it takes yet.

    Attributes:
        prediction: as it was last told of; None before.
        is_over: whether nothing more happens.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.prediction: Prediction | None = None
        self.is_over = False
        self._clock = clock
        self._began: tuple[float, int] | None = None
        self._steps: dict[int, tuple[int, int]] = {}
        self._previews: dict[int, str] = {}
        self._made: set[int] = set()
        self._lost = False

    def tell(self, event: Event) -> None:
        """Something happened."""
        self._lost = event.name == "lost"
        if event.name in ("prediction", "completed"):
            self.prediction = Prediction.of(event.data)
            self.is_over = event.name == "completed"
        elif event.name == "start":
            # Once more, where it was begun before.
            self._steps.clear()
            self._previews.clear()
            self._made.clear()
            self._began = None
        elif event.name == "progress":
            self._progress(event)
        elif event.name == "output":
            self._made.add(event.data["index"])

    def status(self) -> str:
        """Where it stands, as HTML: place in the queue, or steps and time left."""
        if self.is_over and self.prediction is not None:
            return line(self._ending(self.prediction))
        if self._lost:
            return line("The service does not answer; asking again …")
        step, total = self._sum()
        if not total:
            return line(self._waiting()) + bar(None)
        left = self._seconds_left(step, total)
        shown = f"Step {step} of {total}" + (f", {left}" if left else "")
        return line(shown, is_said=False) + bar(step / total)

    def pictures(self) -> str:
        """The pictures, as HTML: finished ones as cards, before that how they look so far."""
        if self.is_over and self.prediction is not None:
            return cards.gallery(self.prediction) if self.prediction.outputs else NOTHING
        count = 1 if self.prediction is None else int(self.prediction.input.get("num_images") or 1)
        return f'<div class="sd-gallery">{"".join(map(self._unfinished, range(count)))}</div>'

    def failure(self) -> str | None:
        """Why there is no picture, as a sentence; None where that is no fault."""
        prediction = self.prediction
        if not self.is_over or prediction is None or prediction.status != "failed":
            return None
        return _sentence(prediction.error) or "It failed."

    def _progress(self, event: Event) -> None:
        index = event.data["index"]
        self._steps[index] = (event.data["step"], event.data["total"])
        if self._began is None:
            self._began = (self._clock(), self._sum()[0])
        if preview := event.data.get("preview"):
            self._previews[index] = preview

    def _sum(self) -> tuple[int, int]:
        """Steps that are done, and of how many; those of pictures that wait count too."""
        if not self._steps:
            return (0, 0)
        asked = self.prediction.input.get("num_images") if self.prediction else 1
        count = max(int(asked or 1), len(self._steps))
        each = max(total for _, total in self._steps.values())
        return sum(step for step, _ in self._steps.values()), each * count

    def _seconds_left(self, step: int, total: int) -> str:
        if self._began is None:
            return ""
        began, done = self._began
        passed = self._clock() - began
        if step <= done or passed <= 0:
            return ""
        seconds = round(passed / (step - done) * (total - step))
        if seconds < 2:
            return "almost done"
        minutes, rest = divmod(seconds, 60)
        return f"about {minutes} min {rest} s left" if minutes else f"about {seconds} s left"

    def _waiting(self) -> str:
        if self.prediction is None:
            return "Sending it …"
        if self.prediction.status != "starting":
            return "It begins …"
        position = self.prediction.queue_position
        if not position:
            return "It is next."
        return f"It waits: {position} in front of it."

    def _ending(self, prediction: Prediction) -> str:
        if prediction.status != "succeeded":
            return _ENDINGS.get(prediction.status, "It is over.")
        if prediction.is_removed:
            return "Its time is over: the service has deleted it."
        count = len(prediction.outputs)
        took = f", in {prediction.seconds:.1f} s" if prediction.seconds is not None else ""
        return f"{count} picture{'s' if count > 1 else ''}{took}"

    def _unfinished(self, index: int) -> str:
        preview = self._previews.get(index)
        state = "finished" if index in self._made else "being made"
        shown = (
            f'<img src="data:image/png;base64,{preview}" alt="Picture {index + 1}, {state}">'
            if preview
            else '<span class="sd-blank" aria-hidden="true"></span>'
        )
        picture = f'<span class="sd-picture">{shown}</span>'
        return f'<figure class="sd-card sd-unfinished">{picture}</figure>'


def line(text: str, *, is_said: bool = True) -> str:
    """How it stands, as HTML; screen readers say it, unless it changes all the time."""
    role = ' role="status"' if is_said else ""
    return f'<p class="sd-line"{role}>{escape(text)}</p>'


def bar(share: float | None) -> str:
    """How much is done, 0 to 1, as HTML; None where nobody knows."""
    value = "" if share is None else f' value="{share:.4f}"'
    return f'<progress class="sd-bar" max="1"{value} aria-label="Progress"></progress>'


def _sentence(text: str | None) -> str | None:
    if not text:
        return None
    return text if text[-1] in ".!?" else f"{text}."
