"""``python -m deployment.ray``: Ray, Serve and the application, on this machine, until SIGTERM."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from deployment.ray import namespace
from deployment.ray.arguments import Arguments
from deployment.ray.machine import Machine, deploy, prepare
from deployment.ray.split import UnusableSplit


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
    parser.add_argument("--metrics-port", type=int, help="of Prometheus' format; default: any")
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
    prepare()
    from assembly import startup
    from assembly.checks import check_address
    from deployment.ray.app import build
    from settings import Settings

    with startup.explained():
        check_address(Settings(), options.host)
    try:
        application = build(chosen)
    except (RuntimeError, UnusableSplit) as error:
        raise SystemExit(str(error)) from None
    machine = Machine(
        options.cpus, options.gpus, options.folder, options.dashboard, options.metrics_port
    )
    stop = threading.Event()
    with machine.running(options.host, options.port):
        # Ray has taken SIGTERM for itself: it would end everything at once.
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: stop.set())
        deploy(application)
        stop.wait()


if __name__ == "__main__":
    main()
