"""The web UI's API: its table of endpoints."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from api.classifier import BoundedClassifier
from api.endpoints import NO_BODY, Endpoint, Handler
from api.keys.scopes import Access
from api.pictures import Pictures
from api.protocols.a1111 import errors
from api.protocols.a1111.client_state import ClientEndpoints
from api.protocols.a1111.generation import GenerationEndpoints
from api.protocols.a1111.lists import ListEndpoints
from api.protocols.a1111.openapi import SKIP_IMAGE, Documentation
from api.protocols.a1111.pictures import LookEndpoints
from api.protocols.a1111.preferences import PreferencesOfClients
from api.protocols.a1111.work import WorkOfClients
from api.protocols.base import Protocol
from contract.errors import RequestError
from settings import Settings

PREFIX: Final = "/sdapi/v1/"
# Of which there is nothing.
_NOTHING: Final = {
    "latent-upscale-modes": "Ways to enlarge latents",
    "sd-vae": "Autoencoders beside the models' own",
    "sd-modules": "Text encoders and autoencoders beside the models' own",
    "hypernetworks": "Hypernetworks",
    "face-restorers": "Face restorers",
    "realesrgan-models": "Real-ESRGAN models",
    "prompt-styles": "Styles",
    "script-info": "Scripts, in detail",
    "extensions": "Extensions",
}


class WebUIProtocol(Protocol):
    """``/sdapi/v1``.

    Args:
        pictures: validates and runs the requests.
        settings: the limits.
        classifier: classifies pictures, if there is one.
    """

    name = "a1111"
    # The only way that its clients know.
    challenge = 'Basic realm="stable-diffusion"'

    def __init__(
        self, pictures: Pictures, settings: Settings, classifier: BoundedClassifier | None = None
    ) -> None:
        served, uploads = pictures.served, pictures.uploads
        preferences, work = PreferencesOfClients(), WorkOfClients()
        self._settings = settings
        self._generation = GenerationEndpoints(pictures, settings, preferences, work)
        self._client = ClientEndpoints(served, uploads, preferences, work)
        self._lists = ListEndpoints(served)
        self._look = LookEndpoints(uploads, classifier, settings.max_prompt_chars)
        self._documentation = Documentation(settings, served.models)
        self.schemas = self._documentation.schemas()
        self.endpoints = [*self._with_bodies(), *self._without_bodies(), *self._what_there_is()]

    def error_response(self, error: RequestError) -> Response:
        return errors.response(error)

    def owns(self, path: str) -> bool:
        return path == "/sdapi" or path.startswith("/sdapi/")

    def _with_bodies(self) -> list[Endpoint]:
        # Pictures are in all of these, if only in what is refused.
        long, short = self._settings.max_body_bytes, self._settings.max_json_bytes
        table = [
            ("txt2img", self._generation.txt2img, "Pictures from a text", long),
            ("img2img", self._generation.img2img, "Pictures from a text and a picture", long),
            ("png-info", self._look.png_info, "The parameters in a picture's file", long),
            ("interrogate", self._look.interrogate, "What a picture shows", long),
        ]
        return [
            *(self._post(path, handler, summary, most) for path, handler, summary, most in table),
            self._post(
                "options",
                self._client.set_options,
                "Change options of this client",
                short,
                operation="sdapi_set_options",
            ),
        ]

    def _without_bodies(self) -> list[Endpoint]:
        table = [
            ("interrupt", self._client.interrupt, "Give up all work for this client"),
            ("skip", self._client.skip, "Give up the batch it has waited for longest"),
            ("refresh-checkpoints", self._client.refresh, "Look for models again"),
            ("refresh-loras", self._client.refresh, "Look for LoRAs again"),
            ("refresh-vae", self._client.refresh, "Look for models again"),
        ]
        return [self._post(path, handler, summary, NO_BODY) for path, handler, summary in table]

    def _what_there_is(self) -> list[Endpoint]:
        lists = self._lists
        named = [
            ("options", self._client.options, "The options of this client"),
            ("embeddings", lists.embeddings, "Textual inversions"),
            ("scripts", lists.scripts, "Scripts"),
            ("cmd-flags", lists.flags, "What the service was started with"),
            ("memory", lists.memory, "The memory of the machine"),
        ]
        listed = [
            ("sd-models", lists.models, "The models"),
            ("loras", lists.loras, "The LoRAs"),
            ("samplers", lists.samplers, "The samplers"),
            ("schedulers", lists.schedules, "The schedules of the noise"),
            ("upscalers", lists.upscalers, "How pictures are enlarged"),
            *((path, lists.nothing, summary) for path, summary in _NOTHING.items()),
        ]
        progress = self._get(
            "progress",
            self._client.progress,
            "How far this client's requests are",
            parameters=[SKIP_IMAGE],
        )
        return [
            progress,
            *(self._get(*each) for each in named),
            *(self._get(*each, lists=True) for each in listed),
        ]

    def _get(
        self, path: str, handler: Handler, summary: str, lists: bool = False, **others: Any
    ) -> Endpoint:
        name = _operation(path)
        return self._endpoint(
            path,
            handler,
            summary,
            name=name,
            methods=("GET",),
            responses=self._documentation.responses(name, lists=lists),
            access=Access.READ,
            linkable=True,
            **others,
        )

    def _post(
        self, path: str, handler: Handler, summary: str, max_body: int, operation: str = ""
    ) -> Endpoint:
        name = operation or _operation(path)
        return self._endpoint(
            path,
            handler,
            summary,
            name=name,
            methods=("POST",),
            request_body=self._documentation.request_body(name),
            responses=self._documentation.responses(name, works=True),
            max_body=max_body,
        )

    def _endpoint(self, path: str, handler: Handler, summary: str, **others: Any) -> Endpoint:
        return Endpoint(
            path=PREFIX + path,
            handler=handler,
            summary=summary,
            tags=("AUTOMATIC1111",),
            any_parameters=True,
            **others,
        )


def _operation(path: str) -> str:
    return f"sdapi_{path.replace('-', '_')}"
