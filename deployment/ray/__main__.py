"""``python -m deployment.ray``: Ray, Serve and the application, on this machine, until SIGTERM."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from deployment.ray import namespace
from deployment.ray.arguments import Arguments

APPLICATION: Final = "stable_diffusion"
# How often replicas and handles tell the controller what they have: they decide how soon there are
# more replicas.
PUSH_SECONDS: Final = "1"
ENVIRONMENT: Final = {
    # Nothing is reported to anybody.
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": PUSH_SECONDS,
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": PUSH_SECONDS,
}
OBJECT_STORE_BYTES: Final = 256 * 1024 * 1024


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m deployment.ray",
        description="Serve pictures on Ray, started for it; SD_ variables are the settings.",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--cpus", type=int, help="that Ray counts with; default: the machine's")
    parser.add_argument("--gpus", type=int, help="likewise")
    parser.add_argument("--folder", type=Path, help="of Ray's files, with a short path")
    parser.add_argument("--dashboard", action="store_true", help="with Ray's dashboard, port 8265")
    parser.add_argument(
        "--isolated",
        action="store_true",
        help="in a network of its own with nothing but loopback: for machines where Ray must not "
        "look for others",
    )
    parser.add_argument(
        "option", nargs="*", help="of the application (docs/ray.md): models=embedded max_replicas=2"
    )
    options = parser.parse_args(arguments)
    if options.isolated:
        namespace.enter("deployment.ray", sys.argv[1:] if arguments is None else arguments)
    try:
        chosen = Arguments.model_validate(dict(one.partition("=")[::2] for one in options.option))
    except ValidationError as error:
        raise SystemExit(f"cannot start: {error}") from None
    os.environ.update({name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()})
    _serve(options, chosen)


def _serve(options: argparse.Namespace, chosen: Arguments) -> None:
    # Ray reads its variables when it is imported.
    import ray
    from ray import serve

    from deployment.ray.app import build

    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    try:
        application = build(chosen)
    except (RuntimeError, ValueError) as error:
        raise SystemExit(str(error)) from None
    ray.init(
        address="local",
        # One more for what needs little: the engines may have all that there are.
        num_cpus=options.cpus or (os.cpu_count() or 1) + 1,
        num_gpus=options.gpus,
        include_dashboard=options.dashboard,
        object_store_memory=OBJECT_STORE_BYTES,
        _temp_dir=None if options.folder is None else str(options.folder.absolute()),
        _node_ip_address="127.0.0.1",
        log_to_driver=True,
    )
    serve.start(http_options={"host": options.host, "port": options.port})
    serve.run(application, name=APPLICATION, route_prefix="/", blocking=False)
    stop.wait()
    _stop(serve)
    ray.shutdown()


def _stop(serve: Any) -> None:
    """Finish the work in flight: Serve itself would first end the process that clients talk to."""
    serve.get_app_handle(APPLICATION).broadcast("drain").results()
    serve.delete(APPLICATION)
    serve.shutdown()


if __name__ == "__main__":
    main()
