"""A PostgreSQL server of its own, from Debian's package: it may be killed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final

PACKAGED: Final = Path("/usr/lib/postgresql")


def programs() -> Path | None:
    """The folder of PostgreSQL's programs; None where it is not installed."""
    found = sorted(PACKAGED.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class PostgreSQL:
    """A server on a free port of 127.0.0.1, in a folder that is deleted in the end.

    Raises:
        RuntimeError: it is not installed.
    """

    def __init__(self) -> None:
        found = programs()
        if found is None:
            raise RuntimeError("PostgreSQL is not installed: apt-get install postgresql")
        self._programs = found
        # Beside the user's other temporary files: the server refuses to run as root, and pytest's
        # folders are for nobody else.
        self.folder = Path(tempfile.mkdtemp(prefix="sd-postgresql-"))
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._user = {"user": "postgres", "group": "postgres", "extra_groups": []}
            shutil.chown(self.folder, "postgres", "postgres")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._run("initdb", "-D", "data", "-U", "tests", "-A", "trust", "--no-sync", "-E", "UTF8")
        self.start()

    def url(self, database: str = "postgres") -> str:
        """What ``SD_STORE`` is to be."""
        return f"postgresql+asyncpg://tests@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    str(self._programs / "postgres"),
                    *("-D", "data", "-p", str(self.port), "-k", str(self.folder)),
                    *("-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=16MB"),
                    # Its processes may be killed, but not the machine.
                    *("-c", "fsync=off"),
                ],
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **self._user,
            )
        give_up = time.monotonic() + 60
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode:
            if self.process.poll() is not None or time.monotonic() > give_up:
                log_lines = (self.folder / "log").read_text()[-2000:]
                raise RuntimeError(f"PostgreSQL does not start: {log_lines}")
            time.sleep(0.05)

    def create(self, database: str) -> str:
        """Make an empty database; returns its URL."""
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "tests", database)
        return self.url(database)

    def kill(self) -> None:
        """End it and all its processes with SIGKILL."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """End it, and delete its folder."""
        if self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True, **self._user)
