"""The recipe of a Bento: which models it serves, and on which device."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from models.catalog import ModelEntry, load_catalog
from models.errors import ModelError
from models.sources import DirectorySource, EmbeddedSource, FileSource
from models.store import find, resolve, variant_for

Precision: TypeAlias = Literal["fp32", "fp16", "bf16"]
Device: TypeAlias = Literal["cpu", "cuda"]
# Optional packages: what a requirements-<extra>.txt names.
Extra: TypeAlias = Literal["nsfw", "openvino", "ray"]

# One that BentoML knows and that torch is built for; see requirements-cuda.txt.
CUDA_VERSION = "12.6.3"
# What SD_COMPILE=inductor compiles with.
COMPILER_PACKAGES = ("gcc", "libc6-dev")
# The user's own catalog, beside the code, where BentoML starts the service.
CATALOG = "own-models.yaml"

_BUCKET = re.compile(r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w!.*'()-]+)*/?$")


class UnusableRecipe(ValueError):
    """Nothing could serve such a Bento; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A Bento to be built.

    Attributes:
        entries: the models to serve; the first is the default.
        precision: what they run in.
        device: what they run on.
        model_source: ``s3://bucket/prefix`` to fetch the models from at the start; without it they
            are inside the Bento.
        catalog: the user's own catalog file, if entries come from one.
        extras: what is installed beside what always is; settings of the service turn it on.

    Raises:
        UnusableRecipe: fp16 on a CPU, OpenVINO elsewhere, or a source that is no ``s3://`` URL.
    """

    entries: tuple[ModelEntry, ...]
    precision: Precision
    device: Device
    model_source: str | None = None
    catalog: Path | None = None
    extras: tuple[Extra, ...] = ()

    def __post_init__(self) -> None:
        if self.device == "cpu" and self.precision == "fp16":
            raise UnusableRecipe("fp16 needs a GPU: take DEVICE=cuda, or PRECISION=fp32")
        if "openvino" in self.extras and (self.device, self.precision) != ("cpu", "fp32"):
            raise UnusableRecipe(
                "openvino computes on a CPU in fp32: take DEVICE=cpu PRECISION=fp32"
            )
        if self.model_source is not None and not _BUCKET.match(self.model_source):
            raise UnusableRecipe(
                f"MODEL_SOURCE must look like s3://bucket/prefix, got {self.model_source!r}"
            )

    @property
    def name(self) -> str:
        """The name of the Bento: ``stable_diffusion_fp16``."""
        return f"stable_diffusion_{self.precision}"

    @property
    def optional(self) -> tuple[str, ...]:
        """What is installed beside requirements.txt, by the name in requirements-NAME.txt."""
        return self.extras if self.model_source is None else ("s3", *self.extras)

    @property
    def requirements(self) -> tuple[str, ...]:
        """The names of the requirements files."""
        return tuple(f"requirements-{name}.txt" for name in (self.device, *self.optional))

    @property
    def left_out(self) -> tuple[str, ...]:
        """The folders of models that ship with the code and are not served."""
        built_in = [entry for entry in load_catalog() if isinstance(entry.source, EmbeddedSource)]
        return tuple(entry.name for entry in built_in if entry not in self.entries)

    def settings(self) -> dict[str, str]:
        """The service's settings (SD_ variables) that make it serve this."""
        chosen = {
            "SD_MODELS": ",".join(entry.name for entry in self.entries),
            "SD_PRECISION": self.precision,
            "SD_DEVICE": self.device,
        }
        if self.model_source is not None:
            chosen["SD_MODEL_SOURCE"] = self.model_source
        if self.catalog is not None:
            chosen["SD_CATALOG"] = CATALOG
        return chosen

    def labels(self) -> dict[str, str]:
        """What ``bentoml get`` says about it."""
        return {
            "models": ",".join(entry.name for entry in self.entries),
            "model_licences": ", ".join(dict.fromkeys(entry.licence for entry in self.entries)),
            "precision": self.precision,
            "device": self.device,
            "model_source": self.model_source or "bento",
            "extras": ",".join(self.extras),
        }

    def model_tags(self) -> list[str]:
        """The models of the model store that go into the Bento.

        Raises:
            ModelError: a model is not here, or not in the store.
        """
        if self.model_source is not None:
            return []
        tags = (_tag(entry, self.precision) for entry in self.entries)
        return [tag for tag in tags if tag is not None]


def choose(
    entries: Sequence[ModelEntry],
    precision: Precision,
    *,
    device: Device | None = None,
    model_source: str | None = None,
    catalog: Path | None = None,
    extras: Sequence[Extra] = (),
) -> Recipe:
    """A recipe, for a GPU if its precision wants one and for a CPU otherwise, unless told."""
    fitting: Device = "cpu" if precision == "fp32" else "cuda"
    return Recipe(
        tuple(entries), precision, device or fitting, model_source, catalog, tuple(extras)
    )


def _tag(entry: ModelEntry, precision: Precision) -> str | None:
    if isinstance(entry.source, EmbeddedSource):
        return None
    if isinstance(entry.source, DirectorySource | FileSource):
        raise ModelError(
            f"{entry.name} lies outside of the model store ({entry.source.path}), and only what is "
            "in the store goes into a Bento; put it there with bentoml.models.create, and give its "
            "entry a source of the type bentoml."
        )
    resolve(entry, precision)  # says what to do if it is not there
    stored = find(entry, variant_for(entry, precision))
    return stored.tag if stored is not None else None
