"""The page with a service beside it: ``python -m ui.beside --url URL -- COMMAND``.

For who has none yet (``make ui``): the command starts one, which ends with the page. Where the URL
answers already, that service is used, and left alone.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

import httpx

ASK_SECONDS: Final = 0.2  # between two questions to what starts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both until SIGINT or SIGTERM, or until one of them ends; returns its exit status."""
    options = _parser().parse_args(arguments)
    page = f"http://{options.host}:{options.port}"
    # Both would reach the two at once, and the page is to go first.
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            processes = []
            if _status(f"{options.url}/readyz") is None:
                processes.append(stack.enter_context(_running(options.command)))
            address = ("--host", options.host, "--port", str(options.port))
            command = (sys.executable, "-m", "ui", "--url", options.url, *address)
            # It says where it is before the service is there.
            processes.append(stack.enter_context(_running(command, stdout=subprocess.DEVNULL)))
            ended = _wait(processes, (f"{options.url}/readyz", f"{page}/livez"))
            if ended is None:
                started = "its service" if len(processes) == 2 else "the service"
                print(f"the page: {page} ({started}: {options.url}); Ctrl+C ends it", flush=True)
                ended = _wait(processes)
            return ended or 0
    except KeyboardInterrupt:
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ui.beside", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:3000", help="where the service is to be")
    parser.add_argument("--host", default="127.0.0.1", help="of the page")
    parser.add_argument("--port", type=int, default=7860, help="likewise")
    parser.add_argument("command", nargs="+", help="starts the service")
    return parser


@contextmanager
def _running(
    command: Sequence[str], stdout: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that ends with the block. A Ctrl+C in the terminal does not reach it."""
    process = subprocess.Popen(command, stdout=stdout, start_new_session=True)
    try:
        yield process
    finally:
        # A second one is no more than the first: a service finishes what it has begun.
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_IGN)
        process.terminate()
        process.wait()


def _wait(
    processes: Sequence[subprocess.Popen[bytes]], addresses: Sequence[str] = ()
) -> int | None:
    """Wait until one of the processes has ended, or all addresses, if there are any, answer 200.

    Returns:
        The exit status of the process that ended; None where none has.
    """
    while True:
        for process in processes:
            if process.poll() is not None:
                return process.returncode
        if addresses and all(_status(address) == httpx.codes.OK for address in addresses):
            return None
        time.sleep(ASK_SECONDS)


def _status(address: str) -> int | None:
    """What an address answers to a GET; None where nobody does."""
    try:
        return httpx.get(address, timeout=5.0, trust_env=False).status_code
    except httpx.TransportError:
        return None


if __name__ == "__main__":
    sys.exit(main())
