"""A network namespace with nothing but loopback.

Ray looks for addresses outside at its start, whatever it is told. Where it must not, it runs where
there is no outside, with everything that starts it and is started by it.
``python -m deployment.ray.namespace MODULE ...`` runs a module so.
"""

from __future__ import annotations

import os
import runpy
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence

# Runs its arguments once loopback is up; only loopback is there to begin with.
_BRING_UP = 'ip link set lo up && exec "$0" "$@"'


class NoNamespace(RuntimeError):
    """This machine does not let us have one; the message says why."""


def enter(module: str, arguments: Sequence[str]) -> None:
    """Start this program again, inside a namespace; returns at once if it is in one already.

    Args:
        module: that of the program.
        arguments: what to give to it.

    Raises:
        NoNamespace: it cannot be made.
    """
    if loopback_only():
        return
    for program in ("unshare", "ip"):
        if shutil.which(program) is None:
            raise NoNamespace(
                f"{program} (util-linux, iproute2) is needed to make a network namespace, and is "
                "not installed"
            )
    # Where we are not root, a user namespace comes with it.
    flags = "-n" if os.geteuid() == 0 else "-rn"
    command = ["unshare", flags, "sh", "-c", _BRING_UP]
    trial = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if trial.returncode:
        raise NoNamespace(
            f"no network namespace can be made here: {trial.stderr.strip()}; allow unshare {flags}"
        )
    os.execvp("unshare", [*command, sys.executable, "-m", module, *arguments])  # noqa: S606


def loopback_only() -> bool:
    """Whether this process is in one."""
    return _interfaces() == ["lo"]


def check_loopback_only() -> None:
    """Raise ``NoNamespace`` where there is a network."""
    if not loopback_only():
        raise NoNamespace(f"there is a network here: {', '.join(_interfaces())}")


def _interfaces() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


if __name__ == "__main__":
    try:
        enter("deployment.ray.namespace", sys.argv[1:])
    except NoNamespace as error:
        raise SystemExit(str(error)) from None
    sys.argv.pop(0)
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
