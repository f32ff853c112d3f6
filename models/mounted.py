"""A folder of models that something else has put there, such as KServe's storage initializer.

It is the folder of one model, or has a file or a folder for each of several: diffusers pipelines,
checkpoints with the folder of their configs, LoRAs. What each is, its content says
(``models.recognition``); what an export adds (``models.export_note``) is believed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from models.architectures import Family
from models.catalog import ModelEntry, load_catalog
from models.errors import LoadError, ModelError
from models.export_note import ExportNote, read_note
from models.finetuned import Provenance
from models.lora import check_lora
from models.recognition import Checkpoint, Lora, Pipeline, recognise
from models.registry import base_text_channels
from models.sources import DirectorySource, FileSource
from models.store import DESCRIPTION

logger = logging.getLogger(__name__)

# The entry whose defaults a model of the family has, where it does not say.
_LIKE: Final[Mapping[Family, str]] = {
    "sd1": "sd-1.5",
    "sd2": "sd-2.1",
    "sdxl": "sdxl-base",
    "sd3": "sd-3.5-medium",
}
_INPAINTING: Final[Mapping[Family, str]] = {"sd1": "sd-1.5-inpainting", "sd2": "sd-2-inpainting"}
_REFINER: Final = "sdxl-refiner"
_NAME_CHARS: Final = 48


@dataclass(frozen=True, slots=True)
class MountedLora:
    """A LoRA in such a folder.

    Attributes:
        name: by which clients know it.
        file: where it is.
        provenance: as an export says, or as good as nothing but its base.
    """

    name: str
    file: Path
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class Mounted:
    """What such a folder holds.

    Attributes:
        entries: its models; the first is the default.
        loras: its LoRAs.
    """

    entries: tuple[ModelEntry, ...]
    loras: tuple[MountedLora, ...]


def is_store(folder: Path) -> bool:
    """Whether a folder is a copy of a model store, which has ``name/version/model.yaml``."""
    return any(folder.glob(f"*/*/{DESCRIPTION}"))


def read_mounted(folder: Path, name: str | None, bases: Sequence[ModelEntry] = ()) -> Mounted:
    """Find the models in a folder.

    Args:
        folder: no model store.
        name: of the default model; of several that are no refiners, one has to be called so. None:
            a model has the name of its export, its folder or its file.
        bases: models that LoRAs may be for, where the folder has LoRAs alone.

    Raises:
        UnsafeWeights: it has a pickled checkpoint, or what only calls itself safetensors.
        LoadError: says in a sentence what is wrong with the folder.
    """
    if not folder.is_dir():
        raise LoadError(f"the folder {folder} does not exist.")
    items = _items(folder)
    configs = [item for item in items if isinstance(item.found, Pipeline) and item.is_config]
    entries = []
    for item in items:
        if isinstance(item.found, Checkpoint):
            entries.append(_checkpoint_entry(item, item.found, configs))
        elif isinstance(item.found, Pipeline) and not item.is_config:
            source = DirectorySource(type="directory", path=item.found.folder)
            entries.append(_like(item.name, item.found, source, item.note))
    entries = _named(entries, name, folder)
    loras = tuple(
        _lora(item, item.found, entries or bases) for item in items if isinstance(item.found, Lora)
    )
    if not entries and not loras:
        raise LoadError(
            f"the folder {folder} has no model: no diffusers pipeline (a folder with a "
            "model_index.json and weights), no checkpoint and no LoRA (a .safetensors file)."
        )
    return Mounted(tuple(entries), loras)


@dataclass(frozen=True, slots=True)
class _Item:
    """A model in the folder, by the name that its export, its folder or its file gives it."""

    name: str
    found: Pipeline | Checkpoint | Lora
    note: ExportNote | None

    @property
    def is_config(self) -> bool:
        """Whether it is no more than what belongs to a checkpoint."""
        return isinstance(self.found, Pipeline) and not self.found.complete


def _items(folder: Path) -> list[_Item]:
    if (folder / "model_index.json").is_file():
        paths = [folder]
    else:
        # Names with a dot are what Kubernetes keeps beside a mounted volume.
        paths = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    items: dict[str, _Item] = {}
    recognised = [(path, found) for path in paths if (found := recognise(path)) is not None]
    for path, found in recognised:
        # A note beside several files is about none of them.
        place = path if path.is_dir() else folder
        note = read_note(place) if path.is_dir() or len(recognised) == 1 else None
        name = _own_name(path) if note is None else note.name
        if name in items:
            raise LoadError(f"the folder {folder} has two models of the name {name}: rename one.")
        items[name] = _Item(name, found, note)
    return list(items.values())


def _own_name(path: Path) -> str:
    """The name of a file or a folder, in the letters that names of models have."""
    given = path.stem if path.is_file() else path.name
    name = re.sub(r"[^a-z0-9._-]+", "-", given.lower())[:_NAME_CHARS].strip("-._")
    return name or "model"


def _checkpoint_entry(item: _Item, checkpoint: Checkpoint, configs: Sequence[_Item]) -> ModelEntry:
    if len(configs) != 1:
        raise LoadError(
            f"{checkpoint.file.name} is a checkpoint with weights only: put the folder of a "
            "diffusers pipeline of its kind beside it, without the weights (model_index.json, the "
            f"configs and the tokenizers); there are {len(configs)} such folders."
        )
    (config,) = configs
    assert isinstance(config.found, Pipeline)  # noqa: S101
    source = FileSource(type="file", path=checkpoint.file, config=config.found.folder)
    return _like(item.name, config.found, source, config.note)


def _like(
    name: str, pipeline: Pipeline, source: DirectorySource | FileSource, note: ExportNote | None
) -> ModelEntry:
    """An entry as the export says, or like that of a well-known model of its kind."""
    if note is not None and note.entry is not None:
        return note.entry.entry(name, source)
    family = pipeline.architecture.name
    like = _LIKE[family]
    if pipeline.tasks == ("inpaint",):
        like = _INPAINTING.get(family, like)
    elif pipeline.tasks == ("img2img",):
        like = _REFINER
    known = load_catalog().get(like)
    sides = {} if pipeline.side is None else {"width": pipeline.side, "height": pipeline.side}
    return ModelEntry(
        name=name,
        family=family,
        source=source,
        tasks=pipeline.tasks,
        defaults=known.defaults.model_copy(update=sides),
        licence="not stated",
    )


def _named(entries: Sequence[ModelEntry], name: str | None, folder: Path) -> list[ModelEntry]:
    """The entries with the default first, under its name, and with the refiner for its family."""
    refiners = [entry for entry in entries if entry.is_refiner]
    mains = [entry for entry in entries if not entry.is_refiner]
    if not mains:
        mains, refiners = refiners, []
    if name is not None and mains:
        first = next((entry for entry in mains if entry.name == name), None)
        if first is None and len(mains) > 1:
            names = ", ".join(entry.name for entry in mains)
            raise LoadError(
                f"the folder {folder} has several models, {names}: SD_MODEL_NAME must be one of "
                f"these names, got {name}."
            )
        if first is None:
            mains = [mains[0].model_copy(update={"name": name})]
        else:
            mains = [first, *(entry for entry in mains if entry is not first)]
    if any(entry.name == refiner.name for entry in mains for refiner in refiners):
        raise LoadError(f"the folder {folder} has a refiner of the name {name}: rename it.")
    return [*(_refined(entry, refiners) for entry in mains), *refiners]


def _refined(entry: ModelEntry, refiners: Iterable[ModelEntry]) -> ModelEntry:
    """With the refiner of its family that is there, and no other."""
    fitting = [one.name for one in refiners if one.family == entry.family]
    takes_one = "refiner" in entry.architecture.fields(entry.tasks)
    refiner = fitting[0] if takes_one and len(fitting) == 1 else None
    return entry.model_copy(update={"refiner": refiner})


def _lora(item: _Item, lora: Lora, bases: Sequence[ModelEntry]) -> MountedLora:
    fitting, faults = [], []
    for base in bases:
        try:
            check_lora(lora.file, base_text_channels(base), base.family)
            fitting.append(base.name)
        except ModelError as error:
            faults.append(str(error))
    told = None if item.note is None else item.note.provenance
    if told is not None and told.base in fitting:
        fitting = [told.base]
    if len(fitting) != 1:
        why = f": {faults[0]}" if faults and not fitting else "."
        raise LoadError(
            f"{lora.file.name} is a LoRA for one model, and it fits {len(fitting)} of those that "
            f"are served, {', '.join(base.name for base in bases) or 'none'}{why}"
        )
    provenance = (
        Provenance(
            base=fitting[0],
            base_revision="not stated",
            licence="not stated",
            # The same in all processes that look.
            created=datetime.fromtimestamp(lora.file.stat().st_mtime, UTC),
        )
        if told is None
        else told.model_copy(update={"base": fitting[0]})
    )
    return MountedLora(item.name, lora.file, provenance)
