"""The keeping: pictures on their way into the store, of an attempt or of a request that waited."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from typing import Final

from api.predictions.files import Files, FilesFull
from api.predictions.prediction import Order, Output, Prediction
from api.predictions.refusals import storage_full, unreachable
from api.predictions.room import Room
from api.predictions.store import Store
from contract.events import Image

_ENDINGS: Final = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


async def put_picture(files: Files, folder: str, writer: str, image: Image) -> Output:
    """Write a picture, and say what it is. Raises what ``Files.put`` raises.

    Args:
        folder: of its prediction.
        writer: names the attempt: others write other files.
    """
    key = f"{folder}/{writer}-{image.index}.{_ENDINGS[image.media_type]}"
    await files.put(key, image.data)
    return Output(
        key=key,
        index=image.index,
        media_type=image.media_type,
        bytes=len(image.data),
        etag=hashlib.sha256(image.data).hexdigest(),
        width=image.width,
        height=image.height,
        seed=image.seed,
        prompt=image.prompt,
        warnings=image.warnings,
        screening=image.screening,
    )


class Keeping:
    """Keeps pictures that are there already, as a prediction that is over.

    Args:
        store: gets the prediction.
        files: get the pictures.
        room: knows whether there is any.
    """

    def __init__(self, store: Store, files: Files, room: Room) -> None:
        self._store = store
        self._files = files
        self._room = room

    async def check(self) -> None:
        """Look whether there is room, before pictures are made. Raises ``RequestError``:
        STORAGE_FULL."""
        await self._room.check_space(0)

    async def keep(self, order: Order, images: Sequence[Image], seconds: float) -> Prediction:
        """Write pictures down.

        Args:
            order: what they were made for. Its own pictures are not kept.
            images: in the order of their index.
            seconds: that it took.

        Raises:
            RequestError: STORAGE_FULL, NOT_READY.
        """
        folder, writer = uuid.uuid4().hex, uuid.uuid4().hex
        try:
            # If anything fails, files are of no one: the retention finds them.
            outputs = [await put_picture(self._files, folder, writer, one) for one in images]
        except FilesFull as error:
            raise storage_full("the disk of the store is full") from error
        except OSError as error:
            raise unreachable() from error
        return await self._store.keep(order, folder, outputs, seconds)
