"""The design of BentoML's Stable Diffusion tutorial: one pipeline call for each request."""

from __future__ import annotations

from typing import Any

import bentoml
import numpy as np
import numpy.typing as npt
import PIL.Image
from bentoml.exceptions import BentoMLException
from bentoml.io import JSON, Image, Multipart


class StableDiffusionRunnable(bentoml.legacy.Runnable):
    SUPPORTED_RESOURCES = ("nvidia.com/gpu", "cpu")
    SUPPORTS_CPU_MULTI_THREADING = True

    def __init__(self) -> None:
        from benchmarks.contestants.stock import Stock

        self._stock = Stock.from_environment()

    @bentoml.legacy.Runnable.method(batchable=False)
    def txt2img(self, body: dict[str, Any]) -> npt.NDArray[np.uint8]:
        return self._draw(body, None)

    @bentoml.legacy.Runnable.method(batchable=False)
    def img2img(self, body: dict[str, Any], image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        return self._draw(body, PIL.Image.fromarray(image))

    def _draw(self, body: dict[str, Any], image: PIL.Image.Image | None) -> npt.NDArray[np.uint8]:
        from benchmarks.contestants.stock import Order

        try:
            (picture,) = self._stock.draw([Order.of(body, image)])
        except Exception as error:
            # Any other exception would leave the client waiting for the runner's timeout.
            raise BentoMLException(str(error)) from error
        return np.asarray(picture)


runner = bentoml.legacy.Runner(StableDiffusionRunnable, name="stable_diffusion_example")
svc = bentoml.legacy.Service("stable_diffusion_example", runners=[runner])
picture = Image(mime_type="image/png")


@svc.api(input=JSON(), output=picture)
async def txt2img(body: dict[str, Any]) -> npt.NDArray[np.uint8]:
    drawn: npt.NDArray[np.uint8] = await runner.txt2img.async_run(body)
    return drawn


@svc.api(input=Multipart(img=Image(), data=JSON()), output=picture)
async def img2img(img: PIL.Image.Image, data: dict[str, Any]) -> npt.NDArray[np.uint8]:
    image = np.asarray(img.convert("RGB"))
    drawn: npt.NDArray[np.uint8] = await runner.img2img.async_run(data, image)
    return drawn
