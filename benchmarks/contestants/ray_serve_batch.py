"""Ray Serve: one deployment behind FastAPI, batching whole requests with ``@serve.batch``.

``python -m benchmarks.contestants.ray_serve_batch PORT FOLDER`` serves until SIGTERM, with Ray's
files in FOLDER. ``BENCH_BATCH_WAIT`` is how long, in seconds, a batch waits to fill up.
"""

# No postponed annotations: Ray ships the class to its worker by value, where FastAPI could not
# look their names up.
import asyncio
import json
import os
import signal
import sys
import threading
from io import BytesIO
from typing import Annotated, Any

import PIL.Image
import ray
from fastapi import Body, FastAPI, File, Form, Response
from ray import serve

from deployment.ray.namespace import check_loopback_only

app = FastAPI()


@serve.deployment(num_replicas=1, max_ongoing_requests=64)
@serve.ingress(app)
class StableDiffusion:
    def __init__(self) -> None:
        from benchmarks.contestants.stock import Stock

        self._stock = Stock.from_environment()

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
        return await self._answer(json.loads(data), PIL.Image.open(BytesIO(img)).convert("RGB"))

    async def _answer(self, body: dict[str, Any], image: PIL.Image.Image | None) -> Response:
        from benchmarks.contestants.stock import Order

        data = await self._draw(Order.of(body, image))
        return Response(data, media_type="image/png")

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=float(os.environ["BENCH_BATCH_WAIT"]))
    async def _draw(self, orders: list[Any]) -> list[bytes]:
        return await asyncio.to_thread(self._draw_all, orders)

    def _draw_all(self, orders: list[Any]) -> list[bytes]:
        from benchmarks.contestants.stock import png

        return [png(picture) for picture in self._stock.draw_all(orders)]


def run(application: Any) -> None:
    """Serve an application at the port that the arguments say, until SIGTERM."""
    check_loopback_only()
    port, folder = int(sys.argv[1]), sys.argv[2]
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    ray.init(
        address="local",
        include_dashboard=False,
        object_store_memory=100 * 1024 * 1024,
        _temp_dir=folder,
        _node_ip_address="127.0.0.1",
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(application, route_prefix="/")
    stop.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    deployment: Any = StableDiffusion  # the decorators made one of the class
    run(deployment.bind())
