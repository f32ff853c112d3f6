"""The files of predictions: their pictures, in a folder."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

_TEMPORARY: Final = ".part"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class FilesFull(Exception):
    """There is no room for another file."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file that is there; ``modified`` is in seconds since 1970."""

    key: str
    modified: float


class Files(Protocol):
    """Whole files by their keys, ``ab12.../name``: a file is there as a whole, or not at all."""

    async def put(self, key: str, data: bytes) -> None:
        """Write a file; when this returns, it is on the disk.

        Raises:
            FilesFull: there is no room for it.
            OSError: it cannot be written just now.
        """
        ...

    async def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes from ``start`` up to ``end``. Raises ``FileNotFoundError``, ``OSError``."""
        ...

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete files; those that are not there are none. Raises ``OSError``."""
        ...

    def all(self) -> AsyncIterator[Found]:
        """Every file."""
        ...

    async def free(self) -> int | None:
        """Bytes that are free; None where there is no telling."""
        ...


class FolderFiles:
    """Implements ``Files`` in a folder, which may be shared by hosts.

    Args:
        folder: is made where it is not there.

    Raises:
        OSError: it cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    async def put(self, key: str, data: bytes) -> None:
        try:
            await asyncio.to_thread(_write, self._path(key), data)
        except OSError as error:
            if error.errno in _FULL:
                raise FilesFull(str(error)) from error
            raise

    async def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        return await asyncio.to_thread(_read, self._path(key), start, end)

    async def delete(self, keys: Iterable[str]) -> None:
        await asyncio.to_thread(_delete, [self._path(key) for key in keys], self._folder)

    async def all(self) -> AsyncIterator[Found]:
        for found in await asyncio.to_thread(lambda: list(_found(self._folder))):
            yield found

    async def free(self) -> int | None:
        return shutil.disk_usage(self._folder).free

    def _path(self, key: str) -> Path:
        # Few enough entries in each folder.
        return self._folder / key[:2] / key


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            # Named before it is on the disk, as nothing points at it yet: then most file systems
            # bring both there at once.
            temporary.replace(path)
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise
    # The name is on the disk as well.
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path, start: int, end: int | None) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read() if end is None else file.read(end - start)


def _delete(paths: list[Path], root: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
    for folder in {path.parent for path in paths}:
        for empty in (folder, folder.parent):
            try:
                if empty != root:
                    empty.rmdir()
            except OSError:
                # Another file is in it, or there is no such folder.
                break


def _found(root: Path) -> Iterator[Found]:
    for directory, _, names in os.walk(root):
        for path in (Path(directory, name) for name in names):
            with suppress(FileNotFoundError):
                yield Found(path.relative_to(root).as_posix()[3:], path.stat().st_mtime)
