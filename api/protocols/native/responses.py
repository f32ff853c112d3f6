"""Responses with finished pictures: one as a file, any number as JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from starlette.responses import Response

from api import warnings_header
from api.protocols.native.results import GeneratedImage, GeneratedImages, UsedLora
from contract.events import Image
from contract.request import GenerationRequest

JSON: Final = "application/json"
# A picture for a client that takes any file.
BINARY: Final = "application/octet-stream"


def file(image: Image, wanted: GenerationRequest, media_type: str) -> Response:
    """The response that is a picture itself, under its own media type or ``BINARY``."""
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", f"{wanted.served_as}-{image.seed}")
    disposition = f'inline; filename="{stem}.{wanted.output_format}"'
    headers = {
        **common_headers(wanted),
        **warnings_header.header_of(image.warnings),
        **_screening(image.screening),
        "Content-Disposition": disposition,
    }
    return Response(image.data, media_type=media_type, headers=headers)


def listing(images: Sequence[Image], wanted: GenerationRequest) -> Response:
    """The response with ``GeneratedImages``; the pictures are in the order of their index."""
    body = GeneratedImages(
        images=[GeneratedImage.of(image) for image in images],
        model=wanted.served_as,
        loras=[UsedLora(name=use.name, scale=use.scale) for use in wanted.further_loras],
        request_id=wanted.request_id,
    )
    warnings = [sentence for image in images for sentence in image.warnings]
    screening = [name for image in images for name in image.screening]
    headers = {
        **common_headers(wanted),
        **warnings_header.header_of(warnings),
        **_screening(screening),
    }
    return Response(body.model_dump_json(), media_type=JSON, headers=headers)


def common_headers(wanted: GenerationRequest) -> dict[str, str]:
    """The headers of every successful response about its request."""
    headers = {"X-Seed": str(wanted.seed), "X-Model": wanted.served_as}
    if wanted.further_loras:
        headers["X-LoRAs"] = ", ".join(map(str, wanted.further_loras))
    return headers


def _screening(screening: Iterable[str]) -> dict[str, str]:
    """The name of each check once."""
    names = list(dict.fromkeys(screening))
    return {"X-Screening": ", ".join(names)} if names else {}
