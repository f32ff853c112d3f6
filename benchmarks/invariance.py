"""Other settings than the defaults: invariant mode, OpenVINO, side by side."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

from benchmarks.contestant import CONTESTANTS, Choice
from benchmarks.rounds import Effort, driver, measure

EFFORT = Effort({"uniform": 20, "mixed": 30})
SEED = 5
SETTINGS = {
    "defaults": {},
    "SD_INVARIANT=true": {"SD_INVARIANT": "true"},
    "SD_COMPILE=openvino": {"SD_COMPILE": "openvino"},
}


def compare_settings() -> None:
    """Measure each with 16 clients and print a Markdown table: pictures per second, median seconds
    of a picture, and the defaults' pictures per second as a multiple."""
    print("| settings | uniform, pictures/s | p50 | mixed, pictures/s | p50 | useful rows | cost |")
    print("|---|---:|---:|---:|---:|---:|---:|", flush=True)
    baseline = 0.0
    for name, environment in SETTINGS.items():
        if "openvino" in name and find_spec("openvino") is None:
            print(f"| `{name}` | openvino is not installed | | | | | |")
            continue
        ours = CONTESTANTS["ours"]
        changed = replace(ours, environment={**ours.environment, **environment})
        with driver(changed, Choice(), "cpu") as driven:
            rounds = dict(measure(changed, driven, list(EFFORT.seconds), EFFORT, SEED))
        uniform, mixed = rounds["uniform"], rounds["mixed"]
        baseline = baseline or mixed.goodput
        print(
            f"| {name} | {uniform.goodput:.2f} | {uniform.p50:.2f} | {mixed.goodput:.2f} "
            f"| {mixed.p50:.2f} | {mixed.useful_slot_steps:.1%} "
            f"| {baseline / mixed.goodput:.2f} x |",
            flush=True,
        )
