"""The handlers about a client's own state: options, progress and interruptions."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api import clients
from api.errors import shown
from api.json_response import reply
from api.protocols.a1111.bodies import check_json
from api.protocols.a1111.leftovers import bounded
from api.protocols.a1111.preferences import Preferences, PreferencesOfClients, output_format
from api.protocols.a1111.responses import (
    ChangedOptions,
    CurrentOptions,
    WebUIProgress,
    WebUIState,
)
from api.protocols.a1111.schemas import WebUIOptions
from api.protocols.a1111.work import Work, WorkOfClients
from api.protocols.native.responses import JSON
from api.served_models import ServedModels
from api.uploads import Uploads
from contract.errors import ErrorCode, RequestError

# Clients take 0 for an end.
_BEGUN: Final = 0.01
_FIXED: Final[dict[str, Any]] = {
    "sd_checkpoint_hash": "",
    "CLIP_stop_at_last_layers": 1,
    "sd_vae": "Automatic",
}
# As the web UI reads them.
_YES: Final = frozenset({"1", "true", "t", "yes", "y", "on"})
_NO: Final = frozenset({"0", "false", "f", "no", "n", "off", ""})


class ClientEndpoints:
    """Handlers: each takes a request with its body unread, and raises ``RequestError``.

    Args:
        served: the served models.
        uploads: reads the bodies.
        preferences: what the clients have set.
        work: what is being done for them.
    """

    def __init__(
        self,
        served: ServedModels,
        uploads: Uploads,
        preferences: PreferencesOfClients,
        work: WorkOfClients,
    ) -> None:
        self._served = served
        self._uploads = uploads
        self._preferences = preferences
        self._work = work

    async def options(self, request: Request) -> Response:
        """The options of the client."""
        given = self._preferences.of(clients.current())
        current = CurrentOptions(
            sd_model_checkpoint=given.model or self._served.names[0],
            samples_format=given.output_format,
            send_seed=given.send_seed,
            send_size=given.send_size,
            **_FIXED,
        )
        return reply(current)

    async def set_options(self, request: Request) -> Response:
        """Change options of the client; those that cannot be changed are reported."""
        check_json(request)
        body = WebUIOptions.parse(await self._uploads.read(request))
        client = clients.current()
        given = self._preferences.of(client)
        changed = replace(
            given,
            model=await self._model(body, given),
            output_format=given.output_format
            if body.samples_format is None
            else output_format(body.samples_format, "samples_format").value,
            send_seed=given.send_seed if body.send_seed is None else body.send_seed,
            send_size=given.send_size if body.send_size is None else body.send_size,
        )
        self._preferences.set(client, changed)
        others = [
            f"{name[:80]}: cannot be changed"
            for name, value in (body.model_extra or {}).items()
            if name not in _FIXED or value != _FIXED[name]
        ]
        return reply(ChangedOptions(ignored=bounded(others)))

    async def progress(self, request: Request) -> Response:
        """How far the client's requests are, all together."""
        client = clients.current()
        wants_image = not _flag(request, "skip_current_image")
        given = self._preferences.of(client)
        if wants_image and not given.previews:
            self._preferences.set(client, replace(given, previews=True))
        progress = _progress(self._work.of(client), wants_image)
        # Null is what its clients look for.
        return Response(progress.model_dump_json(), media_type=JSON)

    async def interrupt(self, request: Request) -> Response:
        """Give up what is being done for the client; the pictures that are done are returned."""
        ignored = await self._unread(request)
        for work in self._work.of(clients.current()):
            work.interrupt()
        return _done(ignored)

    async def skip(self, request: Request) -> Response:
        """Give up the batch that the client has waited for longest."""
        ignored = await self._unread(request)
        for work in self._work.of(clients.current())[:1]:
            work.skip()
        return _done(ignored)

    async def refresh(self, request: Request) -> Response:
        """Look for LoRAs that have been added or removed."""
        ignored = await self._unread(request)
        await self._served.refresh()
        return _done(ignored)

    async def _unread(self, request: Request) -> list[str]:
        """A sentence about a body, where there is none to be read."""
        body = await self._uploads.read(request)
        # Some clients send an empty object.
        return [] if body.strip() in {b"", b"{}"} else ["the body: there is nothing to be said"]

    async def _model(self, body: WebUIOptions, given: Preferences) -> str | None:
        """The model that is to be the client's. Raises ``RequestError``: NOT_FOUND."""
        wanted = body.sd_model_checkpoint
        if "sd_model_checkpoint" not in body.model_fields_set:
            return given.model
        if not wanted:
            return None
        if wanted not in self._known():
            # Other requests need not wait for a look at the store.
            await self._served.refresh()
            if wanted not in self._known():
                raise RequestError(
                    ErrorCode.NOT_FOUND,
                    f"sd_model_checkpoint must be a title of GET /sdapi/v1/sd-models, got "
                    f"{shown(wanted)}",
                    field="sd_model_checkpoint",
                )
        return wanted

    def _known(self) -> list[str]:
        return [choice.name for choice in self._served.snapshot().choices()]


def _progress(current: Sequence[Work], wants_image: bool) -> WebUIProgress:
    count = sum(work.pictures for work in current)
    done = sum(work.done * work.pictures for work in current)
    progress = max(_BEGUN, done / count) if count else 0.0
    oldest = current[0] if current else None
    passed = time.monotonic() - oldest.begun if oldest else 0.0
    preview = next((work.preview for work in current if work.preview), None)
    return WebUIProgress(
        progress=progress,
        eta_relative=passed / progress - passed if count else 0.0,
        state=WebUIState(
            skipped=any(work.skipped for work in current),
            interrupted=any(work.interrupted for work in current),
            stopping_generation=False,
            job=oldest.name if oldest else "",
            job_count=count,
            job_timestamp=oldest.timestamp if oldest else "0",
            job_no=sum(work.finished for work in current),
            sampling_step=oldest.step if oldest else 0,
            sampling_steps=oldest.steps if oldest else 0,
        ),
        current_image=base64.b64encode(preview).decode("ascii")
        if preview and wants_image
        else None,
        textinfo=None,
    )


def _flag(request: Request, name: str) -> bool:
    """A parameter in the URL that is true or false. Raises ``RequestError``: INVALID_REQUEST."""
    value = request.query_params.get(name, "false")
    if value.lower() not in _YES | _NO:
        message = f"{name} must be true or false, not {shown(value)}"
        raise RequestError(ErrorCode.INVALID_REQUEST, message, field=name)
    return value.lower() in _YES


def _done(ignored: list[str]) -> Response:
    """What its clients read as JSON, and look at no further."""
    return JSONResponse({"ignored": ignored} if ignored else {})
