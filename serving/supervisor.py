"""BentoML's supervisor, with its sockets and the metrics in a folder that is private to it.

As BentoML starts it, circus listens on two TCP ports of 127.0.0.1, one of which takes commands
without authentication: any local user could run programs as the user of the service. And the
metrics of all services are in one folder of BENTOML_HOME, which each start empties.
"""

from __future__ import annotations

import inspect
from functools import wraps
from typing import Any

from assembly import startup
from assembly.checks import check_address
from serving.private_folder import private_folder
from settings import Settings


def confine(settings: Settings) -> None:
    """Have BentoML start this service with nothing but its own port open to others, and that one
    only to those whom the settings allow.

    Call it while ``bentoml serve`` imports the service. Nothing happens before it serves: then it
    ends with a sentence if it is to listen on an address that needs keys, and there are none.

    Raises:
        RuntimeError, AttributeError: BentoML or circus is another one than this was made for.
    """
    # circus sets up logging when it is imported.
    import bentoml.serving
    from circus.arbiter import Arbiter

    endpoints = {"watchers", "sockets", "endpoint", "pubsub_endpoint"}
    original = Arbiter.__init__
    signature = inspect.signature(original)
    if missing := endpoints - signature.parameters.keys():
        raise RuntimeError(f"circus.arbiter.Arbiter has no {', '.join(sorted(missing))}")

    @wraps(original)
    def privately(*args: Any, **kwargs: Any) -> None:
        call = signature.bind(*args, **kwargs)
        with startup.explained():
            for each in call.arguments["sockets"]:
                if each.path is None:
                    check_address(settings, each.host)
        folder = private_folder()
        call.arguments["endpoint"] = f"ipc://{folder}/control"
        call.arguments["pubsub_endpoint"] = f"ipc://{folder}/events"
        for name, value in call.arguments.items():
            if isinstance(value, str) and value.startswith(("tcp:", "udp:")):
                raise RuntimeError(f"circus would listen on {value} ({name})")
        metrics = folder / "metrics"
        metrics.mkdir(mode=0o700, exist_ok=True)
        for watcher in call.arguments["watchers"]:
            watcher.env["PROMETHEUS_MULTIPROC_DIR"] = str(metrics)
        original(*call.args, **call.kwargs)

    Arbiter.__init__ = privately

    socket_of = bentoml.serving._get_runner_socket_posix

    @wraps(socket_of)
    def private_socket_of(runner: Any, _: str | None, *args: Any) -> Any:
        return socket_of(runner, str(private_folder()), *args)

    bentoml.serving._get_runner_socket_posix = private_socket_of
