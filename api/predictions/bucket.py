"""The files of predictions in an S3 bucket, by obstore."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from api.predictions.files import Found
from models.bucket import open_bucket

if TYPE_CHECKING:
    from obstore.store import S3Store

# A client waits for it.
_SECONDS: Final = 20


class BucketFiles:
    """Implements ``api.predictions.files.Files`` below a prefix: S3 shows whole objects only.

    Args:
        where: ``s3://bucket/prefix``.

    Raises:
        ModelError: obstore is not installed.
    """

    def __init__(self, where: str) -> None:
        self._bucket: S3Store = open_bucket(where, _SECONDS)

    async def put(self, key: str, data: bytes) -> None:
        with _as_os_errors():
            await self._bucket.put_async(key, data)

    async def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        with _as_os_errors():
            if end is None:
                whole = await (await self._bucket.get_async(key)).bytes_async()
                return bytes(whole)[start:]
            return bytes(await self._bucket.get_range_async(key, start=start, end=end))

    async def delete(self, keys: Iterable[str]) -> None:
        # One request for up to a thousand.
        with _as_os_errors():
            await self._bucket.delete_async(list(keys))

    async def all(self) -> AsyncIterator[Found]:
        with _as_os_errors():
            async for batch in self._bucket.list():
                for item in batch:
                    yield Found(item["path"], item["last_modified"].timestamp())

    async def free(self) -> int | None:
        return None


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """Raise obstore's errors as ``OSError``; an object that is not there is ``FileNotFoundError``
    already."""
    from obstore.exceptions import BaseError

    try:
        yield
    except BaseError as error:
        # Its source comes below.
        raise OSError(f"the bucket: {str(error).partition(chr(10))[0]}") from error
