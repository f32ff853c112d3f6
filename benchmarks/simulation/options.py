"""The options of ``python -m benchmarks simulate``."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from benchmarks.profiles import PROFILES
from benchmarks.workloads import SINGLE, WORKLOADS
from deployment.ray.arguments import Policy


def add(commands: Any, run: Callable[[argparse.Namespace], int]) -> None:
    """Add the command to a parser's sub-commands."""
    parser = commands.add_parser(
        "simulate",
        help="put load on a deployment, or on a fleet on paper",
        description="Put load on a deployment (--url), and record what it does; or work out what a "
        "fleet of engines (--fleet) would do. Writes simulation.json and simulation.svg.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("--url", help="of the deployment: http://HOST:PORT")
    parser.add_argument("--out", type=Path, help="a folder; default: a new one")
    parser.add_argument("--name", help="of the load, in the drawing; default: that of the profile")
    _add_traffic(parser.add_argument_group("the load"))
    _add_deployment(parser.add_argument_group("the deployment"))
    _add_fleet(parser.add_argument_group("the fleet on paper"))


def _add_traffic(group: Any) -> None:
    titles = "; ".join(f"{one.name}: {one.title}" for one in PROFILES.values())
    group.add_argument("--profile", choices=PROFILES, default="ramp", help=titles)
    group.add_argument("--duration", type=_number(1, 604_800), default=120.0, metavar="SECONDS")
    group.add_argument(
        "--rate", type=_number(0.001, 1000), default=1.0, help="requests per second at the highest"
    )
    group.add_argument("--seed", type=int, default=1, help="equal seeds give equal loads")
    group.add_argument(
        "--workload",
        choices=[name for name, one in WORKLOADS.items() if one.models == SINGLE],
        default="mixed",
        help="what is asked for (docs/benchmark.md)",
    )
    group.add_argument("--model", help="another model than that of the workload")
    group.add_argument("--steps", type=_whole(1, 1000), help="likewise, of every request")
    group.add_argument("--side", type=_whole(8, 8192), help="width and height in pixels")
    group.add_argument("--guidance", type=_number(0, 100))
    group.add_argument("--scheduler")
    group.add_argument(
        "--patience",
        type=_number(0.1, 86_400),
        default=60.0,
        metavar="SECONDS",
        help="after which a client leaves, and its picture counts no more",
    )
    group.add_argument(
        "--most-open",
        type=_whole(1, 10_000),
        default=256,
        metavar="REQUESTS",
        help="under way at a time; more are counted, and not sent",
    )


def _add_deployment(group: Any) -> None:
    group.add_argument(
        "--metrics",
        action="append",
        metavar="URL",
        help="where replicas, nodes and queue are to be read, in Prometheus' format: of each node "
        "of Ray, or of a Prometheus (/federate?match[]=...); default: /metrics of the service",
    )
    group.add_argument(
        "--header",
        action="append",
        type=_header,
        default=[],
        metavar="'NAME: VALUE'",
        help="of every request; it is not written down. A key may be in the environment as "
        "API_KEY, which is sent as X-API-Key",
    )
    group.add_argument(
        "--wait", type=_number(0, 3600), default=0.0, metavar="SECONDS", help="until it is ready"
    )
    group.add_argument(
        "--calibrate",
        action="store_true",
        help="measure first what a request costs the engine, for --service",
    )
    group.add_argument(
        "--calibration-replicas",
        type=_whole(1, 1000),
        default=1,
        metavar="REPLICAS",
        help="that are there meanwhile: where replicas of the load share a machine, as many are "
        "to share it here",
    )
    group.add_argument(
        "--calibration-seconds", type=_number(1, 3600), default=60.0, metavar="SECONDS"
    )


def _add_fleet(group: Any) -> None:
    group.add_argument(
        "--fleet",
        type=_whole(1, 10_000),
        metavar="REPLICAS",
        help="how many there may be; needs service times: --url measures them first",
    )
    group.add_argument(
        "--service",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="service times that --calibrate has written; a second file is for two replicas that "
        "are busy on the same node, and so on",
    )
    group.add_argument(
        "--against",
        type=Path,
        metavar="FILE",
        help="traffic of a run with --url, and its service times if there is no --service; prints "
        "how far off the fleet is",
    )
    group.add_argument("--policy", nargs="+", choices=get_args(Policy), default=["work"])
    group.add_argument(
        "--warm",
        nargs="+",
        type=_whole(0, 10_000),
        default=[1],
        metavar="REPLICAS",
        help="that are always there; several to compare them",
    )
    for name in ("target-row-steps", "target-requests"):
        group.add_argument(f"--{name}", type=_number(0.001, 1e9), help="see docs/ray.md")
    for name in ("upscale-delay", "downscale-delay", "look-back"):
        group.add_argument(f"--{name}", type=_number(0, 86_400), metavar="SECONDS")
    group.add_argument(
        "--max-queue",
        type=_whole(1, 100_000),
        default=64,
        metavar="REQUESTS",
        help="SD_MAX_QUEUE; as all of a load with --url has one address, there it is "
        "SD_MAX_QUEUE_PER_CLIENT, 48",
    )
    group.add_argument(
        "--replica-start",
        type=_number(0, 86_400),
        default=20.0,
        metavar="SECONDS",
        help="until a replica takes requests, on a node that is there",
    )
    group.add_argument(
        "--node-start",
        type=_number(0, 86_400),
        default=240.0,
        metavar="SECONDS",
        help="until a node is there, with its image",
    )
    group.add_argument(
        "--node-idle",
        type=_number(0, 86_400),
        default=300.0,
        metavar="SECONDS",
        help="after which an empty node goes",
    )
    group.add_argument("--replicas-per-node", type=_whole(1, 1000), default=1)


def _number(least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not from {least:g} to {most:g}")
        return value

    return parse


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = _number(least, most)(text)
        if not value.is_integer():
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
        return int(value)

    return parse


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not text.isprintable():
        raise argparse.ArgumentTypeError("a header is 'NAME: VALUE'")
    return name.strip(), value.strip()
