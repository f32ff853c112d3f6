"""Nudity in pictures, by NudeNet's detector (https://github.com/notAI-tech/NudeNet).

A YOLOv8n network of 12 MB that comes with the package ``nudenet``, which is optional: it is under
the GNU Affero General Public License (see requirements-nsfw.txt). Only its weights are used. Its
own front end takes all cores, and one channel for the other with pictures from files.
"""

from __future__ import annotations

import ast
from collections.abc import Collection
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import PIL.Image

from contract.screening import NUDITY_LABELS, CheckName, NudityLabel

SIDE: Final = 320  # what the network was trained with

_BOX: Final = 4  # outputs of each place that say where, before those that say what


class Nudity:
    """Finds the given kinds of body parts.

    Args:
        labels: which count.
        threshold: the score from which one counts, 0 to 1.

    Raises:
        RuntimeError: the packages are not installed, or not those this was written for.
    """

    name: CheckName = "nsfw"

    def __init__(self, labels: Collection[NudityLabel], threshold: float) -> None:
        self._labels = tuple(labels)
        self._threshold = threshold
        self._session = _load()

    def look(self, picture: PIL.Image.Image) -> str | None:
        scores = self.scores(picture)
        found = [label for label in self._labels if scores[label] >= self._threshold]
        return ", ".join(f"{label} {scores[label]:.2f}" for label in found) or None

    def scores(self, picture: PIL.Image.Image) -> dict[NudityLabel, float]:
        """The highest score of each label anywhere in an RGB picture, 0 to 1."""
        outputs = self._session.run(None, {self._session.get_inputs()[0].name: _pixels(picture)})
        highest = outputs[0][0, _BOX:].max(axis=1).tolist()
        return dict(zip(NUDITY_LABELS, highest, strict=True))


def _load() -> Any:
    """The network as an ``onnxruntime.InferenceSession``, which any thread may call."""
    package = find_spec("nudenet")
    if package is None or package.origin is None:
        raise RuntimeError("NudeNet is not installed: pip install -r requirements-nsfw.txt")
    onnxruntime = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    # In the calling thread: a pool of its own would take the cores of the denoiser, and spin.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        Path(package.origin).with_name("320n.onnx"), options, providers=["CPUExecutionProvider"]
    )
    names = ast.literal_eval(session.get_modelmeta().custom_metadata_map["names"])
    if tuple(names.values()) != NUDITY_LABELS:
        raise RuntimeError("this NudeNet tells other things apart than the one in requirements")
    return session


def _pixels(picture: PIL.Image.Image) -> npt.NDArray[np.float32]:
    """``[1, 3, SIDE, SIDE]`` in [0, 1]: the picture in the upper left corner of a black square."""
    scale = SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    square = PIL.Image.new("RGB", (SIDE, SIDE))
    square.paste(picture.resize(size, PIL.Image.Resampling.BILINEAR, reducing_gap=2.0))
    pixels = np.asarray(square, dtype=np.float32) / 255
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
