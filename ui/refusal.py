"""What the service, or its absence, answers instead of what was asked for."""

from __future__ import annotations

from typing import Any, Self

import httpx

_KEY_WANTED = 401


class Refusal(Exception):
    """A sentence for the visitor.

    Attributes:
        sentence: what to show him.
        field: the field of the API that is at fault (``loras.0.name`` too), if one is.
        code: of the API's error table; None where the service did not answer.
        status: of HTTP, likewise.
        retry_after: seconds after which it may be asked again, where it says so.
    """

    def __init__(
        self,
        sentence: str,
        *,
        field: str | None = None,
        code: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.field = field
        self.code = code
        self.status = status
        self.retry_after = retry_after

    @property
    def wants_key(self) -> bool:
        """Whether a key is missing, or is none of this service."""
        return self.status == _KEY_WANTED

    @classmethod
    def of(cls, response: httpx.Response) -> Self:
        """The refusal that a response without success is; its body has been read."""
        told = _told(response)
        sentence = _sentence(told.get("detail") or told.get("message"), response.status_code)
        if (elsewhere := response.headers.get("location")) is not None:
            sentence = f"The service is elsewhere: {elsewhere} (--url of the page)."
        code, field = told.get("code"), told.get("field")
        if response.status_code == _KEY_WANTED:
            sentence = "The service does not know this key: it is mistyped, or was revoked."
            if "authorization" not in response.request.headers:
                sentence = "This service wants a key. Enter yours to go on."
        return cls(
            sentence,
            field=field if isinstance(field, str) else None,
            code=code if isinstance(code, str) else None,
            status=response.status_code,
            retry_after=_seconds(response.headers.get("retry-after")),
        )


def no_answer() -> Refusal:
    """The service cannot be reached."""
    return Refusal("The service does not answer. It may be starting, or be stopped.")


def no_service() -> Refusal:
    """What answers is another program, or one that this page is too old or too new for."""
    return Refusal("What answers is no service that this page knows (--url of the page).")


def keeps_none() -> Refusal:
    """The service has no store."""
    return Refusal(
        "This service keeps no predictions (SD_STORE=none); the page makes its pictures as such."
    )


def _told(response: httpx.Response) -> dict[str, Any]:
    """The native body has an ``error``, the one of predictions is that of RFC 9457."""
    try:
        body = response.json()
    except ValueError:
        return {}
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        body = body["error"]
    return body if isinstance(body, dict) else {}


def _sentence(text: object, status: int) -> str:
    """A sentence: with a capital, but for names of fields, and with a full stop."""
    if not isinstance(text, str) or not text:
        return f"The service answered with the status {status}."
    return text if text[-1] in ".!?" else f"{text}."


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
