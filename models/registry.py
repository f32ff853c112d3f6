"""Fine-tuned models: LoRAs, and whole pipelines that were tuned from a base.

They live in the BentoML model store, with what is known about them in their metadata; there is no
second list. Each has a name of its own, apart from those of the catalog, and its versions are
hashes of its files, so that one that was trained again is another one. What is registered or
removed by one process is seen by all others at once.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from models.catalog import Catalog, ModelEntry, ModelName
from models.errors import LoadError, ModelError, UnknownModel
from models.finetuned import AUTO, FineTuned, Kind, Provenance
from models.lora import LORA_FILE, check_lora
from models.sources import BentoSource, FileSource, HuggingFaceSource
from models.store import (
    add,
    find,
    folder_size,
    resolve,
    sha256_of,
    staging_root,
    store_folder,
    store_name,
    variant_for,
)
from models.versions import metadata, read_version, registered, version_folders
from models.weights import check_folder, components, read_index, text_channels

logger = logging.getLogger(__name__)

_DIGITS: Final = 12


def register(
    name: str, kind: Kind, folder: Path, provenance: Provenance, catalog: Catalog
) -> FineTuned:
    """Move a complete folder into the store, as the latest version of ``name``.

    Args:
        folder: of a LoRA, one that has nothing but ``LORA_FILE``; else a pipeline folder. It is
            gone afterwards.
        catalog: whose names are taken, and which has the base.

    Raises:
        ModelError: the name is taken or is none, the base is unknown, or the folder does not hold
            what it should; it is still there.
    """
    check_name(name, catalog)
    _check(kind, folder, catalog.get(provenance.base))
    version = content_hash(folder)
    with _locked():
        if any(read_version(path) is None for path in version_folders(store_folder() / name)):
            raise ModelError(
                f"The model store has a '{name}' that is no fine-tuned model, or a broken one; "
                f"choose another name, or delete it: bentoml models delete {name}"
            )
        staging = Path(tempfile.mkdtemp(dir=staging_root())) / version
        try:
            shutil.move(folder, staging)
            stored = add(name, version, staging, metadata(kind, provenance))
        finally:
            shutil.rmtree(staging.parent)
    return get(stored.tag)


def check_name(name: str, catalog: Catalog) -> None:
    """Raise ``ModelError`` unless a fine-tuned model could have this name."""
    try:
        TypeAdapter(ModelName).validate_python(name)
    except ValidationError:
        raise ModelError(
            f"'{name}' is no name for a model: at most 48 small letters, digits, '-', '_' and "
            "'.', a letter or digit first and last."
        ) from None
    taken = {store_name(entry, variant) for entry in catalog for variant in entry.variants}
    if name == AUTO or name in catalog or name in taken:
        raise ModelError(f"The name '{name}' is taken: choose another one.")


def finetuned() -> tuple[FineTuned, ...]:
    """The latest version of every fine-tuned model, by name.

    Looks at the store each time, and reads only what has changed there.
    """
    return tuple(
        max(versions, key=lambda one: (one.registered, one.model.tag)).model
        for versions in registered()
    )


def finetuned_versions() -> tuple[FineTuned, ...]:
    """Every version of every fine-tuned model: what was accepted with an older one still runs."""
    return tuple(one.model for versions in registered() for one in versions)


def get(tag: str) -> FineTuned:
    """The fine-tuned model ``name:version``. Raises ``UnknownModel``."""
    name, _, version = tag.partition(":")
    versions = {Path(path).name: path for path in version_folders(store_folder() / name)}
    found = read_version(versions[version]) if version in versions else None
    if found is None:
        raise UnknownModel(tag, (one.tag for one in finetuned()))
    return found.model


def remove(name: str) -> int:
    """Delete every version of a fine-tuned model; returns the number of bytes set free.

    Raises:
        UnknownModel: there is none of that name.
    """
    with _locked():
        known = [one.name for one in finetuned()]
        if name not in known:
            raise UnknownModel(name, known)
        # Out of the store at once: no process sees half of it.
        leaving = Path(tempfile.mkdtemp(dir=staging_root())) / name
        (store_folder() / name).rename(leaving)
    freed = folder_size(leaving)
    shutil.rmtree(leaving.parent)
    return freed


def with_pipelines(catalog: Catalog) -> Catalog:
    """The catalog with the fine-tuned pipelines of this moment as entries of their own.

    They have their base's family and defaults.
    """
    return Catalog((*catalog, *_entries(finetuned(), catalog)))


def _entries(models: Iterable[FineTuned], catalog: Catalog) -> Iterable[ModelEntry]:
    for model in models:
        if model.kind != "full":
            continue
        provenance = model.provenance
        if model.name in catalog or provenance.base not in catalog:
            logger.warning(
                "%s is left out: its name is taken, or its base %s is not in the catalog",
                *(model.tag, provenance.base),
            )
            continue
        yield catalog.get(provenance.base).model_copy(
            update={
                "name": model.name,
                "source": BentoSource(type="bentoml", tag=model.tag),
                "licence": provenance.licence,
                "licence_url": None,
                "gated": False,
                "description": provenance.description,
            }
        )


def revision_of(entry: ModelEntry, precision: str) -> str:
    """Which weights a base has: the hub's revision, the store's tag, or a hash of its files.

    Raises:
        ModelError: its files are not here.
    """
    match entry.source:
        case HuggingFaceSource(revision=revision):
            stored = find(entry, variant_for(entry, precision))
            return revision if stored is None else str(stored.metadata["commit"])
        case BentoSource(tag=tag):
            return tag
    return content_hash(resolve(entry, precision))


def content_hash(path: Path) -> str:
    """The first digits of the SHA-256 of a file, or of all files of a folder and their names."""
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    whole = hashlib.sha256()
    for file in files:
        name = file.relative_to(path).as_posix()
        whole.update(f"{sha256_of(file)} {name}\n".encode())
    return whole.hexdigest()[:_DIGITS]


def _check(kind: Kind, folder: Path, base: ModelEntry) -> None:
    if kind == "full":
        check_folder(folder, components(read_index(folder)))
        return
    names = sorted(path.name for path in folder.iterdir())
    if names != [LORA_FILE]:
        raise LoadError(
            f"{folder} must have the file {LORA_FILE} and no other; it has "
            f"{', '.join(names) or 'none'}."
        )
    check_lora(folder / LORA_FILE, base_text_channels(base), base.family)


def base_text_channels(base: ModelEntry) -> int | None:
    """Of the text that its UNet takes; None where its files are not here."""
    if isinstance(base.source, FileSource):
        return text_channels(base.source.config)
    try:
        return text_channels(resolve(base, base.variants[0]))
    except ModelError:
        return None


@contextmanager
def _locked() -> Iterator[None]:
    """One at a time changes what is registered, among all processes."""
    with FileLock(staging_root() / "registry.lock"):
        yield
