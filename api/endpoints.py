"""The table of endpoints: declared once by a protocol, registered by every host."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from api.keys.scopes import Access

# What an endpoint without a body reads, to say that there must be none.
NO_BODY: Final = 1024

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One path with its handler and its part of the OpenAPI document.

    Attributes:
        path: begins with a slash; parameters in braces, as Starlette has them.
        methods: HTTP methods, in capitals.
        name: the operation's id, and the handler's ``__name__`` where a host registers it.
        handler: takes the request with its body unread. Within a protocol it raises
            ``RequestError``; what ``Protocols.endpoints`` has raises nothing.
        tags: the groups in the OpenAPI document.
        summary: one line of plain text.
        description: Markdown.
        request_body: OpenAPI request body object; None where there is none.
        parameters: OpenAPI parameter objects.
        any_parameters: whether others in the URL are reported as ignored, for the sake of clients
            that send some, and not refused.
        responses: OpenAPI response objects by status.
        access: which keys open it, where clients need one.
        signed: whether its handler takes a signature in the URL for a key, and verifies it.
        linkable: whether a link on another site may lead to it: a GET that starts no work.
        max_body: bytes of the longest body.
        while_draining: whether it is open while the service shuts down, as liveness probes are.
    """

    path: str
    methods: tuple[str, ...]
    name: str
    handler: Handler
    tags: tuple[str, ...]
    summary: str
    description: str = ""
    request_body: dict[str, Any] | None = None
    parameters: Sequence[dict[str, Any]] = ()
    any_parameters: bool = False
    responses: Mapping[int | str, dict[str, Any]] = field(default_factory=dict)
    access: Access = Access.GENERATE
    signed: bool = False
    linkable: bool = False
    max_body: int = NO_BODY
    while_draining: bool = False

    @property
    def has_names(self) -> bool:
        """Whether there are parameters in the path."""
        return "{" in self.path

    def operation_id(self, method: str) -> str:
        """The id of one of its methods: the name itself for the last one, else with the method."""
        return self.name if method == self.methods[-1] else f"{self.name}_{method.lower()}"
