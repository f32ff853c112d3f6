"""A screen: the checks that finished pictures go through, and what is done about a match."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import monotonic
from typing import NamedTuple, Protocol

import PIL.Image
from PIL import ImageFilter

from contract.errors import ErrorCode, RequestError
from contract.observer import Observer, Phase
from contract.screening import Action, CheckName

logger = logging.getLogger(__name__)

# Standard deviation of the blur as a share of the longer side: what is left is where it was light
# and where dark.
BLUR = 1 / 6


class Check(Protocol):
    """Looks for one thing. Called from several threads at once."""

    @property
    def name(self) -> CheckName: ...

    def look(self, picture: PIL.Image.Image) -> str | None:
        """What was found in an RGB picture, in a few words for the log; None for nothing."""
        ...


class Screened(NamedTuple):
    """A picture that may go out, and the names of the checks that found something in it."""

    picture: PIL.Image.Image
    screening: tuple[CheckName, ...]


class Screen:
    """The checks that a model's pictures go through.

    Args:
        checks: each with what is done with a picture in which it finds something: ``flag`` only
            says so, ``blur`` also makes the picture unrecognisable, ``reject`` fails its job.
        observer: is told what was found, and how long it took.
    """

    def __init__(self, checks: Sequence[tuple[Check, Action]], observer: Observer) -> None:
        self._checks = [(check, action) for check, action in checks if action != "off"]
        self._observer = observer

    @property
    def withholds(self) -> bool:
        """Whether it may keep a picture from being seen."""
        return any(action != "flag" for _, action in self._checks)

    def apply(self, picture: PIL.Image.Image, request_id: str) -> Screened:
        """Look at an RGB picture with every check.

        Raises:
            RequestError: ``content_policy_violation``: it is rejected.
        """
        started = monotonic()
        found: dict[CheckName, Action] = {}
        for check, action in self._checks:
            if (finding := check.look(picture)) is not None:
                found[check.name] = action
                self._observer.screened(check.name, action)
                logger.info(
                    "screening (%s, %s): %s",
                    check.name,
                    action,
                    finding,
                    extra={"request_id": request_id},
                )
        if "blur" in found.values():
            picture = blurred(picture)
        if self._checks:
            self._observer.phase(Phase.SCREEN, monotonic() - started)
        if rejecting := [name for name, action in found.items() if action == "reject"]:
            raise RequestError(
                ErrorCode.CONTENT_POLICY_VIOLATION,
                f"the picture was rejected by screening ({', '.join(rejecting)}); another prompt "
                "or seed may give one that is not",
            )
        return Screened(picture, tuple(found))


def blurred(picture: PIL.Image.Image) -> PIL.Image.Image:
    """The picture without anything that could be recognised."""
    return picture.filter(ImageFilter.GaussianBlur(BLUR * max(picture.size)))
