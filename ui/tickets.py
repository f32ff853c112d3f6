"""Tickets: what the browser names to watch an order, without a key in a URL."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ui.session import Session

_AT_MOST: Final = 2000


class Tickets:
    """Those of all visitors, the latest; who has lost his gets a new one."""

    def __init__(self) -> None:
        self._issued: OrderedDict[str, tuple[Session, str]] = OrderedDict()

    def issue(self, session: Session, identifier: str) -> str:
        """A ticket for a prediction of a visitor; it cannot be guessed."""
        ticket = secrets.token_urlsafe(24)
        self._issued[ticket] = (session, identifier)
        while len(self._issued) > _AT_MOST:
            self._issued.popitem(last=False)
        return ticket

    def find(self, ticket: str) -> tuple[Session, str] | None:
        """Whose it is, and what it is for; None where there is no such ticket any more."""
        return self._issued.get(ticket)

    def end(self, ticket: str) -> None:
        """It is over: there is nothing more to watch."""
        self._issued.pop(ticket, None)
