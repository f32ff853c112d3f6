"""The command line of the benchmark: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from assembly import environment
from benchmarks import chaos, killed, overhead
from benchmarks.contestant import CONTESTANTS, ROOT
from benchmarks.report import add, write_report
from benchmarks.rounds import FULL, QUICK
from benchmarks.simulation import options as simulation
from benchmarks.workloads import WORKLOADS
from deployment.ray import namespace

# What the bars are about; more does not fit into five minutes.
QUICK_AGENDA = {
    "ours": ["mixed", "impatient", "overload"],
    "bentoml_example": ["mixed", "impatient"],
    "ray_serve_batch": ["mixed", "impatient"],
}
SOLO, QUICK_SOLO = 30, 6  # pictures
DOCS = ROOT / "docs"
ON_RAY = {"ours_on_ray", "ray_serve_batch", "ray_serve_models"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    options.given = given
    # A signal must not leave the servers behind.
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.default_int_handler)
    try:
        return int(options.run(options))
    except namespace.NoNamespace as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the servers were stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True)

    run = commands.add_parser("run", help="measure, and write the report")
    run.add_argument("--quick", action="store_true", help="a shortened round, within 5 minutes")
    run.add_argument("--contestants", type=_names(CONTESTANTS), help="default: all")
    run.add_argument("--workloads", type=_names(WORKLOADS), help="default: all")
    run.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    run.add_argument(
        "--out", type=Path, help="default: docs for everything in full, else a new folder"
    )
    run.set_defaults(run=_run)

    report = commands.add_parser("report", help="write the page and the plots again")
    report.add_argument("--out", type=Path, default=DOCS, help="where benchmark.json is")
    report.add_argument("--add", type=Path, help="a folder with that of a later run to put into it")
    report.set_defaults(run=_report)

    kill = commands.add_parser("chaos", help="predictions, while what runs them is killed")
    kill.add_argument("--host", choices=sorted(killed.TARGETS), default="bentoml")
    kill.add_argument("--predictions", type=int, default=200)
    kill.add_argument("--kills", type=int, default=10)
    stores = kill.add_mutually_exclusive_group()
    stores.add_argument("--store", help="SD_STORE; default: SQLite in a temporary folder")
    stores.add_argument(
        "--postgresql",
        action="store_true",
        help="a PostgreSQL server of its own, from Debian's package, which is killed as well",
    )
    kill.set_defaults(run=chaos.command)

    cost = commands.add_parser("overhead", help="what a prediction costs over a plain request")
    cost.add_argument("--pairs", type=int, default=60)
    cost.add_argument("--store", help="SD_STORE; default: SQLite in a temporary folder")
    cost.set_defaults(run=overhead.command)

    page = commands.add_parser("page", help="what the page costs over the API, and by being open")
    page.add_argument("--host", choices=("bentoml", "local"), default="bentoml")
    page.add_argument("--pairs", type=int, default=20, help="of pictures")
    page.add_argument("--pages", type=int, default=50, help="that are open")
    page.add_argument("--seconds", type=float, default=30.0, help="for which they are")
    page.set_defaults(run=_page)

    tune = commands.add_parser("tune", help="find the settings that suit each contestant here")
    tune.add_argument("--contestants", type=_names(CONTESTANTS), default=list(CONTESTANTS))
    tune.set_defaults(run=_tune)

    settings = commands.add_parser("settings", help="this service with other settings")
    settings.set_defaults(run=_settings)

    guidance = commands.add_parser("guidance", help="what guidance intervals save, and cost")
    guidance.add_argument("--rounds", type=int, default=3)
    guidance.set_defaults(run=_guidance)

    loras = commands.add_parser("loras", help="what LoRAs cost in passes that they share")
    loras.add_argument("--rounds", type=int, default=40)
    loras.add_argument("--threads", type=int, default=1)
    loras.set_defaults(run=_loras)

    mixed = commands.add_parser("mixed-sizes", help="what passes of several sizes gain")
    mixed.add_argument("--rounds", type=int, default=15)
    mixed.set_defaults(run=_mixed_sizes)

    hosts = commands.add_parser("hosts", help="this service on BentoML and on Ray Serve")
    hosts.add_argument("--pictures", type=int, default=40, help="of one step, with one client")
    hosts.add_argument("--seconds", type=float, default=30.0, help="of a round with 16 clients")
    hosts.add_argument("--rounds", type=int, default=3)
    hosts.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    hosts.set_defaults(run=_hosts)

    simulation.add(commands, _simulate)

    fairness = commands.add_parser("fairness", help="what a client notices of another one's load")
    fairness.add_argument("--pictures", type=int, default=15)
    fairness.set_defaults(run=_fairness)

    quantization = commands.add_parser(
        "quantization", help="print how far quantised models are from full precision"
    )
    quantization.add_argument("--models", nargs="+", default=["embedded"], help="default: embedded")
    quantization.add_argument("--steps", type=int, default=20)
    quantization.set_defaults(run=_quantization)
    return parser


def _names(known: Collection[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.replace(",", " ").split()
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise argparse.ArgumentTypeError(
                f"{', '.join(unknown) or 'nothing'}: choose from {', '.join(known)}"
            )
        return [name for name in known if name in names]

    return parse


def _run(options: argparse.Namespace) -> int:
    if options.device == "cuda":
        from benchmarks.gpu import measure_gpu

        return measure_gpu(options.out or DOCS, quick=options.quick)
    from benchmarks.run import run

    agenda = _agenda(options.contestants, options.workloads, quick=options.quick)
    if ON_RAY & agenda.keys():
        namespace.enter("benchmarks", options.given)
    everything = agenda == _agenda(None, None, quick=False)
    if everything and not options.quick:
        out = options.out or DOCS
    else:
        out = options.out or Path(mkdtemp(prefix="benchmark-"))
        print(f"a part of the benchmark{', shortened: rough figures' * options.quick}:")
        for name, workloads in agenda.items():
            print(f"  {name}: {', '.join(workloads)}", flush=True)
    # Who names workloads wants these alone.
    solo = 0 if options.workloads else QUICK_SOLO if options.quick else SOLO
    complete = run(
        agenda,
        QUICK if options.quick else FULL,
        solo=solo,
        device=options.device,
        command=shlex.join(["python", "-m", "benchmarks", *options.given]),
        out=out,
    )
    print(f"written: {out / 'benchmark.md'}")
    return 0 if complete else 1


def _agenda(
    contestants: Sequence[str] | None, workloads: Sequence[str] | None, *, quick: bool
) -> dict[str, list[str]]:
    """The workloads of each contestant, without those that it cannot take."""
    usual = QUICK_AGENDA if quick else {name: list(WORKLOADS) for name in CONTESTANTS}
    agenda = {
        name: [
            each
            for each in workloads or usual.get(name, [*QUICK_AGENDA["ours"], "several"])
            if CONTESTANTS[name].takes(WORKLOADS[each])
        ]
        for name in contestants or usual
    }
    return {name: chosen for name, chosen in agenda.items() if chosen}


def _report(options: argparse.Namespace) -> int:
    report = _read_report(options.out)
    if options.add is not None:
        report = add(report, _read_report(options.add))
    write_report(report, options.out)
    return 0


def _read_report(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "benchmark.json").read_text(encoding="utf-8"))
    return report


def _hosts(options: argparse.Namespace) -> int:
    from benchmarks.hosts import compare

    namespace.enter("benchmarks", options.given)
    figures = compare(options.pictures, options.seconds, options.rounds, options.device)
    print(json.dumps(figures, indent=2))
    return 0


def _simulate(options: argparse.Namespace) -> int:
    from benchmarks.simulation.command import run

    return run(options)


def _page(options: argparse.Namespace) -> int:
    # It needs a browser, and what drives it.
    from benchmarks.page import command

    return command(options)


def _tune(options: argparse.Namespace) -> int:
    from benchmarks.tuning import tune_all

    if ON_RAY & {*options.contestants}:
        namespace.enter("benchmarks", options.given)
    tune_all(options.contestants, "cpu")
    return 0


def _settings(options: argparse.Namespace) -> int:
    from benchmarks.invariance import compare_settings

    compare_settings()
    return 0


def _guidance(options: argparse.Namespace) -> int:
    environment.prepare()
    from benchmarks.guidance import compare_intervals

    compare_intervals(options.rounds)
    return 0


def _loras(options: argparse.Namespace) -> int:
    environment.prepare()
    from benchmarks.loras import compare_loras

    compare_loras(options.rounds, options.threads)
    return 0


def _mixed_sizes(options: argparse.Namespace) -> int:
    environment.prepare()
    from benchmarks.mixed_sizes import compare_mixes

    compare_mixes(options.rounds)
    return 0


def _quantization(options: argparse.Namespace) -> int:
    environment.prepare()
    from benchmarks.quantization import compare_schemes

    compare_schemes(options.models, options.steps)
    return 0


def _fairness(options: argparse.Namespace) -> int:
    from benchmarks.fairness import compare

    return compare(options.pictures)


if __name__ == "__main__":
    sys.exit(main())
