"""Ray Serve: a deployment for each model, batching whole requests with ``@serve.batch``, behind one
with FastAPI.

``python -m benchmarks.contestants.ray_serve_models PORT FOLDER`` serves until SIGTERM, with Ray's
files in FOLDER. The base of SDXL hands its latents to the deployment of its refiner, as Ray's
documentation composes models. The machine's cores are divided among the deployments, but as Ray
has no bound for what a process takes, each of them can keep a core busy.
"""

# No postponed annotations: Ray ships the classes to its workers by value, where FastAPI could not
# look their names up.
import asyncio
import json
import os
from io import BytesIO
from typing import Annotated, Any

import PIL.Image
from fastapi import Body, FastAPI, File, Form, Response
from ray import serve

from benchmarks.contestants.ray_serve_batch import run
from benchmarks.workloads import SEVERAL

app = FastAPI()
SHARE = len(os.sched_getaffinity(0)) / len(SEVERAL)


@serve.deployment(num_replicas=1, max_ongoing_requests=64, ray_actor_options={"num_cpus": SHARE})
class Model:
    """One model; what its batches hold may be pictures, and latents for its refiner."""

    def __init__(self, name: str, refiner: Any = None) -> None:
        from benchmarks.contestants.stock import Stock

        self._stock = Stock.from_environment(name)
        self._refiner = refiner

    async def answer(self, body: dict[str, Any], image: bytes | None) -> Any:
        from benchmarks.contestants.stock import Order

        picture = None if image is None else PIL.Image.open(BytesIO(image)).convert("RGB")
        order = Order.of(body, picture)
        drawn = await self._draw(order)
        if order.switch_at is not None:
            drawn = await self._refiner.refine.remote(order.refine(drawn))
        return drawn

    async def refine(self, order: Any) -> Any:
        return await self._draw(order)

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=float(os.environ["BENCH_BATCH_WAIT"]))
    async def _draw(self, orders: list[Any]) -> list[Any]:
        return await asyncio.to_thread(self._draw_all, orders)

    def _draw_all(self, orders: list[Any]) -> list[Any]:
        from benchmarks.contestants.stock import png

        return [
            png(drawn) if isinstance(drawn, PIL.Image.Image) else drawn
            for drawn in self._stock.draw_all(orders)
        ]


@serve.deployment(num_replicas=1, max_ongoing_requests=64, ray_actor_options={"num_cpus": 0})
@serve.ingress(app)
class Front:
    """What clients speak to."""

    def __init__(self, models: dict[str, Any]) -> None:
        self._models = models

    @app.get("/readyz")
    def readyz(self) -> str:
        return "ready"

    @app.post("/txt2img")
    async def txt2img(self, body: Annotated[dict[str, Any], Body()]) -> Response:
        return await self._answer(body, None)

    @app.post("/img2img")
    async def img2img(
        self, img: Annotated[bytes, File()], data: Annotated[str, Form()]
    ) -> Response:
        return await self._answer(json.loads(data), img)

    async def _answer(self, body: dict[str, Any], image: bytes | None) -> Response:
        data = await self._models[body["model"]].answer.remote(body, image)
        return Response(data, media_type="image/png")


def application() -> Any:
    """The models, composed."""
    # The decorators made these of the classes.
    model: Any = Model
    front: Any = Front
    small, large, refiner, flow = SEVERAL
    return front.bind(
        {
            small: model.options(name=small).bind(small),
            large: model.options(name=large).bind(large, model.options(name=refiner).bind(refiner)),
            flow: model.options(name=flow).bind(flow),
        }
    )


if __name__ == "__main__":
    run(application())
