"""Scopes of keys, and which of them open what."""

from __future__ import annotations

from enum import Enum, StrEnum


class Scope(StrEnum):
    """What a key is for."""

    READ = "read"
    GENERATE = "generate"
    ADMIN = "admin"


class Access(Enum):
    """What an endpoint asks for; the value has the scopes that open it."""

    # Probes: no key.
    OPEN = frozenset[Scope]()
    # What is served.
    READ = frozenset(Scope)
    # What everybody does.
    METRICS = frozenset({Scope.READ, Scope.ADMIN})
    # Work, and its results.
    GENERATE = frozenset({Scope.GENERATE, Scope.ADMIN})
    ADMIN = frozenset({Scope.ADMIN})

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """Those that open it, in the order in which they are told."""
        return tuple(scope for scope in Scope if scope in self.value)
