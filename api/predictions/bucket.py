"""The files of predictions in an S3 bucket, by obstore."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING

from api.predictions.files import Found
from models.bucket import open_bucket

if TYPE_CHECKING:
    from obstore.store import S3Store


class BucketFiles:
    """Implements ``api.predictions.files.Files`` below a prefix: S3 shows whole objects only.

    Args:
        where: ``s3://bucket/prefix``.

    Raises:
        ModelError: obstore is not installed.
    """

    def __init__(self, where: str) -> None:
        self._bucket: S3Store = open_bucket(where)

    async def put(self, key: str, data: bytes) -> None:
        from obstore.exceptions import BaseError

        try:
            await self._bucket.put_async(key, data)
        except BaseError as error:
            raise OSError(f"the bucket: {error}") from error

    async def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        from obstore.exceptions import BaseError

        try:
            if end is None:
                whole = await (await self._bucket.get_async(key)).bytes_async()
                return bytes(whole)[start:]
            return bytes(await self._bucket.get_range_async(key, start=start, end=end))
        except FileNotFoundError:
            raise
        except BaseError as error:
            raise OSError(f"the bucket: {error}") from error

    async def delete(self, keys: Iterable[str]) -> None:
        from obstore.exceptions import BaseError

        for key in keys:
            try:
                await self._bucket.delete_async(key)
            except FileNotFoundError:
                continue
            except BaseError as error:
                raise OSError(f"the bucket: {error}") from error

    async def all(self) -> AsyncIterator[Found]:
        async for batch in self._bucket.list():
            for item in batch:
                yield Found(item["path"], item["last_modified"].timestamp())

    async def free(self) -> int | None:
        return None
