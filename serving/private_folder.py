"""The private folder of a process tree: its sockets and its metrics, in memory where there is room.

BentoML would have the metrics in its home, which services share and each start empties, and the
sockets in TMPDIR, whose path may be too long for one.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

# The path of a Unix socket has at most 107 bytes (unix(7)), of which BentoML takes 102 for its own:
# less the longest of their names, a number with .sock.
_MAX_FOLDER_BYTES = 102 - len("/012345678901234.sock")
# Metrics take about 0.5 MB a process, and as much again each time one is replaced.
_ROOM = 16 * 1024**2
_MEMORY = Path("/dev/shm")  # noqa: S108 - only a folder of our own in it is used
_PREFIX = "stable-diffusion-"
_LOCK = "lock"


@cache
def private_folder() -> Path:
    """The folder of this process and those that it starts: made at the first call, with mode 0700,
    and removed when this process ends.

    Raises:
        SystemExit: there is no place with room for it, or the paths are too long.
    """
    places = (_MEMORY, Path(tempfile.gettempdir()), Path("/tmp"))  # noqa: S108 - as above
    for place in places:
        if _suits(place):
            _sweep(place)
            folder = _make(place)
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            return folder
    raise SystemExit(
        "cannot start: sockets and metrics need a folder with a path of at most "
        f"{_MAX_FOLDER_BYTES - len(_PREFIX) - 9} bytes and {_ROOM // 1024**2} MiB of room, and "
        f"none of {', '.join(dict.fromkeys(map(str, places)))} is one"
    )


def _suits(place: Path) -> bool:
    if len(os.fsencode(place / f"{_PREFIX}12345678")) > _MAX_FOLDER_BYTES:
        return False
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        return False
    state = os.statvfs(place)
    return state.f_bavail * state.f_frsize >= _ROOM


def _make(place: Path) -> Path:
    """A folder that is locked before it gets the name by which others look for abandoned ones."""
    unnamed = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=place))
    # Held, and not closed, until this process ends, however it does.
    lock = os.open(unnamed / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return unnamed.rename(place / unnamed.name.removeprefix("."))


def _sweep(place: Path) -> None:
    """Remove what processes of ours that were killed have left: nobody holds its lock."""
    for folder in place.glob(f"{_PREFIX}*"):
        try:
            if folder.stat().st_uid != os.getuid():
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)
