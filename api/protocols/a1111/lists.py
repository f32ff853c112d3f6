"""The handlers that say what there is, in the web UI's kinds of things."""

from __future__ import annotations

from collections.abc import Sequence

import psutil
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from api.json_response import reply
from api.protocols.a1111 import samplers
from api.protocols.a1111.responses import (
    Embeddings,
    Flags,
    Memory,
    Scripts,
    WebUILora,
    WebUIModel,
    WebUISampler,
    WebUISchedule,
    WebUIUpscaler,
)
from api.protocols.a1111.second_pass import UPSCALER
from api.protocols.native.responses import JSON
from api.served_models import ServedModels


class ListEndpoints:
    """Handlers: each takes a request without a body.

    Args:
        served: the served models.
    """

    def __init__(self, served: ServedModels) -> None:
        self._served = served

    async def models(self, request: Request) -> Response:
        """The models, those that are a LoRA with its base among them."""
        await self._served.refresh()
        names = [choice.name for choice in self._served.snapshot().choices()]
        return _list(
            [
                WebUIModel(
                    title=name, model_name=name, hash=None, sha256=None, filename=name, config=None
                )
                for name in names
            ]
        )

    async def loras(self, request: Request) -> Response:
        """The LoRAs, with what they were made for."""
        await self._served.refresh()
        return _list(
            [
                WebUILora(
                    name=lora.name,
                    alias=lora.name,
                    path=lora.name,
                    metadata={"ss_sd_model_name": lora.base},
                )
                for lora in self._served.snapshot().loras
            ]
        )

    async def samplers(self, request: Request) -> Response:
        """The samplers that some model takes."""
        taken = {name for model in self._served.models for name in model.schedulers}
        return _list(
            [
                WebUISampler(
                    name=sampler.name,
                    aliases=list(sampler.aliases),
                    options={} if sampler.default is None else {"scheduler": sampler.default},
                )
                for sampler in samplers.SAMPLERS
                if taken.intersection(sampler.schedules.values())
            ]
        )

    async def schedules(self, request: Request) -> Response:
        """The schedules of the noise."""
        return _list(
            [
                WebUISchedule(
                    name=name,
                    label=label,
                    aliases=[],
                    default_rho=7.0 if name == "karras" else -1.0,
                    need_inner_model=False,
                )
                for name, label in samplers.SCHEDULES.items()
            ]
        )

    async def upscalers(self, request: Request) -> Response:
        """How the second pass enlarges pictures."""
        return _list(
            [
                WebUIUpscaler(name=name, model_name=None, model_path=None, model_url=None, scale=4)
                for name in ("None", UPSCALER)
            ]
        )

    async def embeddings(self, request: Request) -> Response:
        """None."""
        return reply(Embeddings(loaded={}, skipped={}))

    async def scripts(self, request: Request) -> Response:
        """None."""
        return reply(Scripts(txt2img=[], img2img=[]))

    async def nothing(self, request: Request) -> Response:
        """Of a kind of which there is nothing."""
        return _list([])

    async def flags(self, request: Request) -> Response:
        """The flags of the start."""
        return reply(Flags(api=True, nowebui=True))

    async def memory(self, request: Request) -> Response:
        """The memory of the machine that answers; of GPUs it knows nothing."""
        memory = psutil.virtual_memory()
        ram = {"free": memory.available, "used": memory.used, "total": memory.total}
        return reply(Memory(ram=ram, cuda={"error": "unavailable"}))


def _list(items: Sequence[BaseModel]) -> Response:
    """An array of objects, with null for what is not known."""
    return Response(f"[{','.join(item.model_dump_json() for item in items)}]", media_type=JSON)
