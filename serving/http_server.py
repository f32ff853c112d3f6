"""The HTTP server of both hosts: uvicorn, with one parser, one event loop, and our connections."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import uvicorn

from api.protocols.native import errors
from serving.connections import Connections, within_file_limit
from serving.protocol import Bounds, Connection
from settings import Settings

logger = logging.getLogger(__name__)

# What asyncio accepts in one go, before any connection is counted.
_BACKLOG = 256
# What BentoML gives for --timeout-keep-alive where nobody has.
_BENTOML_KEEP_ALIVE = 5


def uvicorn_options(settings: Settings) -> dict[str, Any]:
    """Arguments for ``uvicorn.Config``; raises this process' limit on open files, if need be.

    They leave nothing to what else is installed: uvicorn takes uvloop, httptools and websockets
    where it finds them, which read some requests otherwise, and bound other things.
    """
    connection = partial(
        Connection,
        bounds=Bounds(settings.head_seconds, settings.keep_alive_seconds),
        connections=Connections(within_file_limit(settings.max_connections)),
        render=errors.response,
    )
    return {
        "http": connection,
        "loop": "asyncio",
        "ws": "none",
        "backlog": _BACKLOG,
        "forwarded_allow_ips": list(settings.trusted_proxies),
    }


def install(settings: Settings) -> Callable[[], None]:
    """Have BentoML's API server run uvicorn with our options, whatever it gives for them itself.

    Call it while the API server imports the service.

    Returns:
        To be called when the server starts. It raises RuntimeError if BentoML has started uvicorn
        otherwise than expected.
    """
    ours = uvicorn_options(settings)
    made: list[uvicorn.Config] = []

    class Config(uvicorn.Config):
        def __init__(self, app: Any, **options: Any) -> None:
            if options.get("timeout_keep_alive", _BENTOML_KEEP_ALIVE) != _BENTOML_KEEP_ALIVE:
                logger.warning("--timeout-keep-alive is ignored: SD_KEEP_ALIVE_SECONDS counts")
            super().__init__(app, **{**options, **ours})
            made.append(self)

    vars(uvicorn)["Config"] = Config

    def check() -> None:
        if not made:
            raise RuntimeError("BentoML runs another server: its connections would be unbounded")

    return check
