"""The events of a request: what its jobs report while they run.

A stream ends with the last of the request's ``Image`` events, which come in any order, or with one
``Failed``, which ends the other pictures of the request too. ``index`` says which picture an event
is about, 0 for the first.
"""

from __future__ import annotations

from dataclasses import dataclass

from contract.errors import ErrorCode, RequestError


@dataclass(frozen=True, slots=True)
class Queued:
    """The request was accepted; ``position`` jobs wait in front of its first."""

    position: int


@dataclass(frozen=True, slots=True)
class Progress:
    """``step`` of ``total`` denoiser calls are done.

    ``preview`` is a small PNG of how the picture stands, one pixel per latent, if asked for.
    """

    step: int
    total: int
    index: int = 0
    preview: bytes | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """A finished picture, encoded as a file of ``media_type``.

    ``warnings`` are sentences for the client about parameters of its request that were adjusted;
    ``screening`` are the names of the checks that found something in the picture; ``last`` marks
    the end of the request; ``prompt`` is that of the picture.
    """

    data: bytes
    media_type: str
    width: int
    height: int
    seed: int
    index: int = 0
    warnings: tuple[str, ...] = ()
    screening: tuple[str, ...] = ()
    last: bool = True
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The job ended without a picture. The fields are those of ``RequestError``."""

    code: ErrorCode
    message: str
    field: str | None = None
    retry_after: float | None = None

    @classmethod
    def from_error(cls, error: RequestError) -> Failed:
        return cls(error.code, error.message, error.field, error.retry_after)

    def to_error(self) -> RequestError:
        return RequestError(self.code, self.message, field=self.field, retry_after=self.retry_after)


Event = Queued | Progress | Image | Failed


def ends(event: Event) -> bool:
    """Whether nothing follows this event in its stream."""
    return event.last if isinstance(event, Image) else isinstance(event, Failed)
