"""The process of BentoML's that imports the service: supervisor, API server or runner."""

from __future__ import annotations

from collections.abc import Callable

from bentoml._internal.context import server_context

from serving import http_server, memory, metrics_files, request_timers, supervisor
from settings import Settings


def is_runner() -> bool:
    """Whether this process runs models, and answers no client."""
    return bool(server_context.service_type == "runner")


def prepare(settings: Settings) -> Callable[[], None]:
    """Prepare this process for its part, while it imports the service.

    Returns:
        To be called in the event loop when the API server starts: raises RuntimeError if that was
        in vain.
    """
    match server_context.service_type:
        case "api_server":
            memory.give_back()
            metrics_files.install()
            request_timers.leave_out()
            check = http_server.install(settings)

            def begin() -> None:
                check()
                memory.keep_tidy()

            return begin
        case "runner":
            metrics_files.install()
            request_timers.leave_out()
        case _:
            supervisor.confine(settings)
    return lambda: None
