"""``python -m benchmarks simulate``: load on a deployment, or on a fleet on paper."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import date
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from pydantic import ValidationError

from benchmarks.load import Log, Plan
from benchmarks.rounds import RoundFailed, carry_out
from benchmarks.simulation.calibration import ServiceTimes, calibrate
from benchmarks.simulation.fleet import Fleet, simulate
from benchmarks.simulation.observation import Observation
from benchmarks.simulation.target import Target, Unusable
from benchmarks.simulation.timeline import summary
from deployment.ray.arguments import EngineOptions
from training.machine import describe

FILE = "simulation.json"
KEY = "API_KEY"
MOST_REQUESTS = 1_000_000
COMPARED = ("goodput", "p50", "p95", "pictures", "refused", "timeouts")


def run(options: argparse.Namespace) -> int:
    """Carry the command out; returns the exit status."""
    # A command line is for all users of a machine to see.
    if key := os.environ.get(KEY):
        options.header = [("X-API-Key", key), *options.header]
    try:
        report = _report(options)
    except (Unusable, RoundFailed) as error:
        print(f"cannot simulate: {error}", file=sys.stderr)
        return 2
    # Matplotlib is only there where the benchmark is.
    from benchmarks.simulation.drawing import draw

    out = options.out or Path(mkdtemp(prefix="simulation-"))
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=2, ensure_ascii=False)
    (out / FILE).write_text(text + "\n", encoding="utf-8")
    draw(report, out / "simulation.svg")
    _say(report)
    print(f"written: {out / FILE}, {out / 'simulation.svg'}")
    return 0


def _report(options: argparse.Namespace) -> dict[str, Any]:
    against = _read(options.against)
    known = [*map(_read, options.service)] or ([against] if against else [])
    if options.fleet is None and known:
        raise Unusable("--service and --against are for --fleet")
    if options.fleet is None and not options.url:
        raise Unusable("--url says where the service is; or --fleet how large one on paper may be")
    if options.fleet is not None and bool(known) == bool(options.url):
        raise Unusable("a fleet needs service times: of --url, or of --service or --against FILE")
    plan = _plan(options, against or None)
    target, service = None, []
    if options.url:
        target = Target(options.url.rstrip("/"), dict(options.header))
        target.wait(options.wait)
        own_pixels = target.own_pixels(next(plan.requests()).model)
        if options.calibrate or options.fleet is not None:
            print(f"calibrating for {options.calibration_seconds:g} s", flush=True)
            service = [
                calibrate(
                    plan,
                    own_pixels,
                    options.calibration_seconds,
                    _carry_out,
                    options.calibration_replicas,
                )
            ]
    elif known:
        service = _service_times(known, options.service or [options.against])
    report: dict[str, Any] = {
        "machine": describe(),
        "date": date.today().isoformat(),
        # Without headers, which may be keys.
        "command": shlex.join(["python", "-m", "benchmarks", *_public(options.given)]),
        "traffic": {
            name: value
            for name, value in asdict(plan).items()
            if name not in ("url", "headers", "usual", "limit", "clients")
        },
        "service": [each.to_json() for each in service],
        "notes": [],
    }
    if options.fleet is None and target is not None:
        _observed(report, plan, target, options)
    else:
        report["runs"] = list(_fleets(options, plan, service))
        if options.against:
            report["against"] = _errors(report["runs"], against["runs"][0])
    return report


def _service_times(files: list[dict[str, Any]], paths: list[Path]) -> list[ServiceTimes]:
    for file, path in zip(files, paths, strict=True):
        if not file["service"]:
            raise Unusable(f"{path} has no service times: it was written without --calibrate")
    times = [ServiceTimes.of_json(each) for file in files for each in file["service"]]
    if len({each.own_pixels for each in times}) > 1:
        raise Unusable("the files of --service are of models of different sizes")
    return times


def _plan(options: argparse.Namespace, known: dict[str, Any] | None) -> Plan:
    if known is not None:
        return Plan(url="", **known["traffic"])
    changes = {
        name: value
        for name in ("model", "steps", "guidance", "side", "scheduler")
        if (value := getattr(options, name)) is not None
    }
    plan = Plan(
        url=(options.url or "").rstrip("/"),
        workload=options.workload,
        changes=changes,
        seconds=options.duration,
        seed=options.seed,
        rate=options.rate,
        profile=options.profile,
        most_open=options.most_open,
        headers=dict(options.header),
        timeout=options.patience,
    )
    if plan.seconds * options.rate > MOST_REQUESTS:
        raise Unusable(
            f"--duration {options.duration:g} x --rate {options.rate:g} is more than "
            f"{MOST_REQUESTS:,} requests"
        )
    return plan


def _observed(
    report: dict[str, Any], plan: Plan, target: Target, options: argparse.Namespace
) -> None:
    """Put load on a deployment, and look at it meanwhile."""
    urls = options.metrics or [f"{target.url}/metrics"]
    observation = Observation(urls, target.headers)
    with observation.running():
        log = _carry_out(plan)
    samples = observation.since(log.start)
    report["runs"] = [
        summary(options.name or plan.profile, log.records, samples, plan.seconds, options.rate)
    ]
    if not samples:
        report["notes"].append(
            f"replicas, nodes and queue are unknown: {observation.failure}; --metrics says where "
            "measurements are"
        )
    elif report["runs"][0]["figures"]["replicas"] is None:
        report["notes"].append(
            f"replicas and nodes are unknown: {', '.join(urls)} does not tell; --metrics says "
            "where Ray's measurements are"
        )


def _fleets(
    options: argparse.Namespace, plan: Plan, service: Sequence[ServiceTimes]
) -> Iterator[dict[str, Any]]:
    for policy in options.policy:
        for warm in options.warm:
            fleet = Fleet(
                options=_engine_options(options, policy, warm),
                service=service,
                replica_start=options.replica_start,
                node_start=options.node_start,
                node_idle=options.node_idle,
                replicas_per_node=options.replicas_per_node,
                max_queue=options.max_queue,
            )
            course = simulate(fleet, plan)
            yield {
                **summary(
                    f"{policy}, {warm} warm",
                    course.records,
                    course.samples,
                    plan.seconds,
                    plan.rate or 0.0,
                    (course.replica_seconds, course.node_seconds),
                ),
                "fleet": {key: value for key, value in asdict(fleet).items() if key != "service"}
                | {"options": fleet.options.model_dump()},
            }


def _engine_options(options: argparse.Namespace, policy: str, warm: int) -> EngineOptions:
    given = {
        name: value
        for name in (
            "target_row_steps",
            "target_requests",
            "upscale_delay",
            "downscale_delay",
            "look_back",
        )
        if (value := getattr(options, name)) is not None
    }
    try:
        return EngineOptions(policy=policy, min_replicas=warm, max_replicas=options.fleet, **given)
    except ValidationError as error:
        first = error.errors()[0]
        name = "--" + "-".join(str(part) for part in first["loc"]).replace("_", "-")
        raise Unusable(f"{name if first['loc'] else '--warm'}: {first['msg']}") from None


def _errors(runs: list[dict[str, Any]], real: dict[str, Any]) -> dict[str, Any]:
    """How far each fleet is off what a deployment did, as shares of that; None where that was 0."""

    def share(paper: float | None, measured: float | None) -> float | None:
        return round(paper / measured - 1, 4) if paper is not None and measured else None

    errors: dict[str, Any] = {}
    for run in runs:
        own, other = run["figures"], real["figures"]
        errors[run["name"]] = {name: share(own[name], other[name]) for name in COMPARED}
        if own["replicas"] and other["replicas"]:
            errors[run["name"]]["replicas"] = share(
                own["replicas"]["mean"], other["replicas"]["mean"]
            )
    return errors


def _carry_out(plan: Plan) -> Log:
    return carry_out("benchmarks.load", plan)


def _read(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        file = path / FILE if path.is_dir() else path
        known = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}") from None
    except ValueError:
        raise Unusable(f"{path} is not a file of this command") from None
    if not isinstance(known, dict) or not {"service", "traffic", "runs"} <= known.keys():
        raise Unusable(f"{path} is not a file of this command")
    return known


def _public(given: list[str]) -> list[str]:
    shown = list(given)
    for index, argument in enumerate(shown):
        if argument.startswith("--header="):
            shown[index] = "--header=..."
        elif argument == "--header":
            with suppress(IndexError):
                shown[index + 1] = "..."
    return shown


def _say(report: dict[str, Any]) -> None:
    for run in report["runs"]:
        figures = run["figures"]
        replicas = figures["replicas"]
        print(
            f"{run['name']:20} {figures['pictures']} of {figures['sent']} pictures, "
            f"{figures['goodput']:.2f} a second, p50 {_seconds(figures['p50'])}, "
            f"p95 {_seconds(figures['p95'])}; {figures['refused']} refused, "
            f"{figures['timeouts']} too late, {figures['errors'] - figures['timeouts']} errors, "
            f"{figures['unsent']} unsent; replicas "
            + (
                "unknown"
                if replicas is None
                else f"{replicas['least']} to {replicas['most']}, {replicas['mean']:.2f} on average"
            )
            + (
                ""
                if figures["replica_hours"] is None
                else f", {figures['replica_hours']:.2f} hours of them, {figures['node_hours']:.2f} "
                "of nodes"
            )
        )
    for name, errors in report.get("against", {}).items():
        known = ", ".join(
            f"{key} {value:+.1%}" for key, value in errors.items() if value is not None
        )
        print(f"{name:20} against what was measured: {known}")
    for note in report["notes"]:
        print(note)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"
