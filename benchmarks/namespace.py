"""A network namespace with nothing but loopback.

Ray looks for addresses outside at its start, whatever it is told. So the benchmark runs where
there is no outside, itself and everything it starts.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys

# Runs its arguments once loopback is up; only loopback is there to begin with.
_BRING_UP = 'ip link set lo up && exec "$0" "$@"'


class NoNamespace(RuntimeError):
    """This machine does not let us have one; the message says why."""


def enter(arguments: list[str]) -> None:
    """Start this program again, inside a namespace; returns at once if it is in one already.

    Args:
        arguments: what to give to the program.

    Raises:
        NoNamespace: it cannot be made.
    """
    if _interfaces() == ["lo"]:
        return
    for program in ("unshare", "ip"):
        if shutil.which(program) is None:
            raise NoNamespace(
                f"Ray is only run in a network namespace, and {program} (util-linux, iproute2) "
                "is not installed; leave ray_serve_batch out, or install it"
            )
    # Where we are not root, a user namespace comes with it.
    flags = "-n" if os.geteuid() == 0 else "-rn"
    command = ["unshare", flags, "sh", "-c", _BRING_UP]
    trial = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if trial.returncode:
        raise NoNamespace(
            "Ray is only run in a network namespace, and none can be made here: "
            f"{trial.stderr.strip()}; leave ray_serve_batch out, or allow unshare {flags}"
        )
    os.execvp("unshare", [*command, sys.executable, "-m", "benchmarks", *arguments])  # noqa: S606


def check_loopback_only() -> None:
    """Raise ``NoNamespace`` where there is a network."""
    if _interfaces() != ["lo"]:
        raise NoNamespace(f"there is a network here: {', '.join(_interfaces())}")


def _interfaces() -> list[str]:
    return [name for _, name in socket.if_nameindex()]
