"""The tutorial's design with BentoML's adaptive batching on.

A batch holds whatever came in the meantime, so it is split into what one pipeline call can do.
``BENCH_MAX_LATENCY_MS`` is the dispatcher's limit: it refuses with 503 what it expects to be later.
"""

from __future__ import annotations

import os
from typing import Any

import bentoml
import numpy as np
import numpy.typing as npt
import PIL.Image
from bentoml.exceptions import BentoMLException
from bentoml.io import JSON, Image, Multipart

Drawn = list[npt.NDArray[np.uint8]]


class StableDiffusionRunnable(bentoml.legacy.Runnable):
    SUPPORTED_RESOURCES = ("nvidia.com/gpu", "cpu")
    SUPPORTS_CPU_MULTI_THREADING = True

    def __init__(self) -> None:
        from benchmarks.contestants.stock import Stock

        self._stock = Stock.from_environment()

    @bentoml.legacy.Runnable.method(batchable=True, batch_dim=0)
    def txt2img(self, bodies: list[dict[str, Any]]) -> Drawn:
        return self._draw([(body, None) for body in bodies])

    @bentoml.legacy.Runnable.method(batchable=True, batch_dim=0)
    def img2img(self, bodies: list[tuple[dict[str, Any], npt.NDArray[np.uint8]]]) -> Drawn:
        return self._draw([(body, PIL.Image.fromarray(image)) for body, image in bodies])

    def _draw(self, wanted: list[tuple[dict[str, Any], PIL.Image.Image | None]]) -> Drawn:
        from benchmarks.contestants.stock import Order

        try:
            pictures = self._stock.draw_all([Order.of(body, image) for body, image in wanted])
        except Exception as error:
            # Any other exception would leave the clients waiting for the runner's timeout.
            raise BentoMLException(str(error)) from error
        return [np.asarray(picture) for picture in pictures]


runner = bentoml.legacy.Runner(
    StableDiffusionRunnable,
    name="stable_diffusion_adaptive",
    max_batch_size=8,
    max_latency_ms=int(os.environ["BENCH_MAX_LATENCY_MS"]),
)
svc = bentoml.legacy.Service("stable_diffusion_adaptive", runners=[runner])
picture = Image(mime_type="image/png")


@svc.api(input=JSON(), output=picture)
async def txt2img(body: dict[str, Any]) -> npt.NDArray[np.uint8]:
    (drawn,) = await runner.txt2img.async_run([body])
    return drawn  # type: ignore[no-any-return]


@svc.api(input=Multipart(img=Image(), data=JSON()), output=picture)
async def img2img(img: PIL.Image.Image, data: dict[str, Any]) -> npt.NDArray[np.uint8]:
    image = np.asarray(img.convert("RGB"))
    (drawn,) = await runner.img2img.async_run([(data, image)])
    return drawn  # type: ignore[no-any-return]
