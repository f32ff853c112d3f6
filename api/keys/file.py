"""The file of keys as ``python -m api.keys`` changes it: in one step, and by one process a time."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from api.keys.document import UnusableKeys, dump, parse
from api.keys.key import Key


def read(path: Path) -> dict[str, Key]:
    """The keys of a file, by their ids; none of one that is not there yet.

    Raises:
        UnusableKeys: it holds something else.
        OSError: it cannot be read.
    """
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UnusableKeys(f"{path}: {error}") from None


def change(path: Path, changed: Callable[[dict[str, Key]], dict[str, Key]]) -> None:
    """Replace the keys of a file by what ``changed`` makes of them.

    A new file is for its owner alone to read; one that was there keeps its owner and its mode.

    Raises:
        UnusableKeys: it holds something else, or whatever ``changed`` raises.
        OSError: it cannot be read, or its folder not be written to.
    """
    # What a link leads to: it may be in another folder, and stays a link.
    target = path.resolve()
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        keys = changed(read(target))
        # Of mode 0600, as it makes them.
        unfinished, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(unfinished, "w", encoding="utf-8") as file:
                file.write(dump(keys.values()))
                file.flush()
                _keep_rights(target, file.fileno())
                os.fsync(file.fileno())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        os.fsync(folder)
    finally:
        os.close(folder)


def _keep_rights(old: Path, new: int) -> None:
    """Give a file the owner and the mode of the one that it replaces, if there is one: the service
    may be another user."""
    try:
        there = old.stat()
    except FileNotFoundError:
        return
    here = os.fstat(new)
    if (here.st_uid, here.st_gid) != (there.st_uid, there.st_gid):
        os.fchown(new, there.st_uid, there.st_gid)
    os.fchmod(new, stat.S_IMODE(there.st_mode))
