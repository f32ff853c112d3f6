"""Pictures as files, with their parameters inside."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import PIL.Image
from PIL.PngImagePlugin import PngInfo

from contract.request import GenerationRequest, OutputFormat
from engine.stages import infotext

_EXIF_IFD = 0x8769
_USER_COMMENT = 0x9286
# A segment of a JPEG has room for so many bytes, less the EXIF headers.
_MAX_JPEG_COMMENT = 65_533 - 200

# Fast rather than small: level 1 takes a third of the default level's time.
_OPTIONS: dict[OutputFormat, dict[str, Any]] = {
    OutputFormat.PNG: {"compress_level": 1},
    OutputFormat.JPEG: {"quality": 95, "subsampling": 0},
    OutputFormat.WEBP: {"quality": 95, "method": 2},
}


def encode(
    picture: PIL.Image.Image, request: GenerationRequest, screening: Sequence[str] = ()
) -> bytes:
    """Write an RGB picture in the requested format.

    The parameters, with what screening found, go into a ``parameters`` text chunk of a PNG, and
    into the EXIF UserComment (EXIF 2.32, 4.6.5: eight bytes naming the character code, then the
    text) of the others. A JPEG has room for 64 KiB: what is longer is left out.
    """
    text = infotext.to_text(request, screening)
    options = dict(_OPTIONS[request.output_format])
    if request.output_format is OutputFormat.PNG:
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_text("parameters", text)
    else:
        if request.output_quality is not None:
            options["quality"] = request.output_quality
        comment = b"UNICODE\0" + text.encode("utf-16-be")
        if request.output_format is OutputFormat.WEBP or len(comment) <= _MAX_JPEG_COMMENT:
            exif = PIL.Image.Exif()
            exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = comment
            options["exif"] = exif
    file = BytesIO()
    picture.save(file, format=request.output_format.value, **options)
    return file.getvalue()
