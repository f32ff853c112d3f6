"""The handlers of the endpoints that make pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api import clients
from api.disconnect import cancel_on_disconnect
from api.json_response import reply
from api.parameters import fields_named
from api.pictures import Pictures
from api.protocols.a1111 import info, leftovers
from api.protocols.a1111.bodies import check_json
from api.protocols.a1111.parameters import NAMES, understand, with_pictures
from api.protocols.a1111.preferences import PreferencesOfClients
from api.protocols.a1111.schemas import Generation, WebUIImg2Img, WebUITxt2Img
from api.protocols.a1111.second_pass import SECOND_NAMES, SecondPass, second_pass
from api.protocols.a1111.work import Work, WorkOfClients
from contract.events import Image
from contract.request import GenerationRequest, OutputFormat
from models.catalog import Task
from settings import Settings


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that was understood; nothing of its body is in it but what is decoded.

    Attributes:
        wanted: all its pictures.
        batch: pictures in a batch.
        name: of the job.
        told: what the answer says.
        second: the second pass, if there is one.
    """

    wanted: GenerationRequest
    batch: int
    name: str
    told: info.Told
    second: SecondPass | None = None


class GenerationEndpoints:
    """Handlers: each takes a request with its body unread, and raises ``RequestError``.

    Args:
        pictures: validates and runs the requests.
        settings: the limits.
        preferences: what the clients have set.
        work: what is being done for them.
    """

    def __init__(
        self,
        pictures: Pictures,
        settings: Settings,
        preferences: PreferencesOfClients,
        work: WorkOfClients,
    ) -> None:
        self._pictures = pictures
        self._uploads = pictures.uploads
        self._settings = settings
        self._preferences = preferences
        self._work = work

    async def txt2img(self, request: Request) -> Response:
        """A text in, pictures out."""
        check_json(request)
        return await self._answer(request, await self._from_text(request))

    async def img2img(self, request: Request) -> Response:
        """A text and a picture in, pictures out."""
        check_json(request)
        self._pictures.check_room(request)
        return await self._answer(request, await self._from_picture(request))

    async def _from_text(self, request: Request) -> _Asked:
        async with self._uploads.body(request) as data:
            body = await self._uploads.parse(WebUITxt2Img, data)
            given = self._preferences.of(clients.current())
            understood = understand(body, "txt2img", given, self._settings)
            with fields_named(NAMES):
                wanted = await self._pictures.request(understood.parameters, request)
            if not body.enable_hr:
                return self._asked(body, wanted, understood.notes)
            with fields_named(SECOND_NAMES):
                multiple = self._multiple_of(wanted)
                second = second_pass(body, understood.parameters, wanted, multiple, self._settings)
                # What is wrong with it is told before the first pass is made.
                await self._pictures.check(replace(second.parameters, init_image=b""))
            return self._asked(body, wanted, (*understood.notes, *second.notes), second)

    async def _from_picture(self, request: Request) -> _Asked:
        async with self._uploads.body(request) as data:
            body = await self._uploads.parse(WebUIImg2Img, data)
            given = self._preferences.of(clients.current())
            task: Task = "inpaint" if body.mask else "img2img"
            understood = understand(body, task, given, self._settings)
            parameters = with_pictures(understood.parameters, body)
            with fields_named(NAMES):
                wanted = await self._pictures.request(parameters, request)
            return self._asked(body, wanted, understood.notes)

    def _asked(
        self,
        body: Generation,
        wanted: GenerationRequest,
        notes: Sequence[str],
        second: SecondPass | None = None,
    ) -> _Asked:
        told = info.Told(
            parameters=info.parameters_of(body),
            prompt=body.prompt or "",
            negative_prompt=body.negative_prompt or "",
            batch_size=body.batch,
            send_images=body.send_images is not False,
            notes=(*notes, *leftovers.ignored(body, wanted.scheduler)),
            changes={} if second is None else dict(second.changes),
        )
        return _Asked(wanted, body.batch, body.force_task_id or "", told, second)

    async def _answer(self, request: Request, asked: _Asked) -> Response:
        client, wanted = clients.current(), asked.wanted
        passes = 1 if asked.second is None else 2
        work = Work(asked.name, wanted.num_images, passes)
        with self._work.begun(client, work), fields_named(NAMES):
            images = await self._run(request, work, asked)
        if asked.second is not None:
            wanted = replace(wanted, strength=asked.second.parameters.strength)
        return reply(info.answer(asked.told, wanted, images, work))

    async def _run(self, request: Request, work: Work, asked: _Asked) -> list[Image]:
        wanted = self._watched(asked.wanted)
        if asked.second is not None:
            wanted = replace(wanted, output_format=OutputFormat.PNG)
        run = work.run(self._pictures, _batches(wanted, asked.batch))
        images = await cancel_on_disconnect(request.receive, run)
        if asked.second is None:
            return images
        with fields_named(SECOND_NAMES):
            enlarged = [await self._enlarged(asked.second, image) for image in images]
            work.next_pass()
            run = work.run(self._pictures, enlarged)
            return await cancel_on_disconnect(request.receive, run)

    async def _enlarged(self, second: SecondPass, image: Image) -> GenerationRequest:
        parameters = replace(second.parameters, seed=image.seed, init_image=image.data)
        return self._watched(await self._pictures.own_picture(parameters))

    def _watched(self, wanted: GenerationRequest) -> GenerationRequest:
        """The same with what its client looks at."""
        previews = self._preferences.of(clients.current()).previews
        return replace(wanted, wants_progress=True, wants_previews=previews)

    def _multiple_of(self, wanted: GenerationRequest) -> int:
        models: dict[str, Any] = {model.name: model for model in self._pictures.served.models}
        return int(models[wanted.model].multiple_of)


def _batches(wanted: GenerationRequest, size: int) -> list[GenerationRequest]:
    """A request as one for each of its batches, which can be given up alone."""
    return [
        replace(wanted, num_images=size, seed=wanted.seed + start)
        for start in range(0, wanted.num_images, size)
    ]
