"""A model's files on this machine: shipped with the code, in a user's folder, or in the store.

The store is BentoML's model store (under ``BENTOML_HOME``), with one model per catalog name and
variant: ``sd-1.5-fp16:<first 12 digits of the commit>``. ``bentoml models list`` shows it too.

BentoML is imported where it is used, so that finding a model that ships with the code, or lies in
a folder, does not depend on it.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.catalog import ModelEntry, Variant
from models.errors import (
    LoadError,
    ModelError,
    ModelNotDownloaded,
    NotEnoughDisk,
    VariantUnavailable,
)
from models.sources import (
    BentoSource,
    DirectorySource,
    EmbeddedSource,
    FileSource,
    HuggingFaceSource,
)

DESCRIPTION = "model.yaml"  # what BentoML knows of a model, beside its files
# What a disk should have left when a model is there.
SPARE_BYTES = 512 * 1024**2

_COMMIT = re.compile(r"^[0-9a-f]{40}$")


@dataclass(frozen=True, slots=True)
class Stored:
    """A model in the store. ``size`` in bytes; ``metadata`` is what ``register`` was given."""

    tag: str
    path: Path
    size: int
    metadata: Mapping[str, Any]


def variant_for(entry: ModelEntry, precision: str) -> Variant:
    """The variant that serves a precision (fp32, fp16, bf16); bf16 is made of the fp32 files.

    Raises:
        VariantUnavailable: the model has no such variant, or the precision is unknown.
    """
    wanted = "fp32" if precision == "bf16" else precision
    for variant in entry.variants:
        if variant == wanted:
            return variant
    raise VariantUnavailable(
        f"{entry.name} has no {wanted} variant; it has {', '.join(entry.variants)}."
    )


def resolve(entry: ModelEntry, precision: str) -> Path:
    """The folder, or the ``.safetensors`` file, to give to ``models.loading.load_pipeline``.

    Args:
        precision: fp32, fp16 or bf16.

    Raises:
        ModelNotDownloaded: names the command that brings the model here.
        VariantUnavailable: the model does not exist in this precision.
        LoadError: a folder or file of the catalog does not exist.
    """
    variant = variant_for(entry, precision)
    match entry.source:
        case EmbeddedSource(path=path) | DirectorySource(path=path):
            if not path.is_dir():
                raise LoadError(f"{entry.name}: the folder {path} does not exist.")
            return path
        case FileSource(path=path):
            if not path.is_file():
                raise LoadError(f"{entry.name}: the file {path} does not exist.")
            return path
    stored = find(entry, variant)
    if stored is None:
        if isinstance(entry.source, BentoSource):
            raise ModelNotDownloaded(
                f"{entry.name}: the BentoML model store has no model '{entry.source.tag}'; "
                "`bentoml models list` shows what it has."
            )
        raise ModelNotDownloaded(
            f"{entry.name} is not downloaded in {variant}; run: "
            f"python -m models pull {entry.name} --precision {variant}"
        )
    return stored.path


def find(entry: ModelEntry, variant: Variant) -> Stored | None:
    """The entry's model in the store: of its own commit if it names one, else the latest."""
    tag = tag_of(entry, variant)
    return None if tag is None else get(tag)


def tag_of(entry: ModelEntry, variant: Variant) -> str | None:
    """The name of the entry's model in the store; None for a source that is not kept there.

    Without a version, or with ``latest`` for one, it is the newest.
    """
    match entry.source:
        case BentoSource(tag=tag):
            return tag
        case HuggingFaceSource(revision=revision):
            version = version_of(revision) if is_commit(revision) else "latest"
            return f"{store_name(entry, variant)}:{version}"
    return None


def readable(size: int) -> str:
    """A number of bytes for people: decimal units, as hubs and disks count."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def get(tag: str) -> Stored | None:
    """A model of the BentoML store by its tag; None if there is no such model."""
    import bentoml

    try:
        model = bentoml.models.get(tag)
    except bentoml.exceptions.NotFound:
        return None
    return Stored(
        tag=str(model.tag),
        path=Path(model.path),
        size=model.file_size,
        metadata=model.info.metadata,
    )


def is_commit(revision: str) -> bool:
    """Whether a revision is a commit, and so always means the same files."""
    return _COMMIT.match(revision) is not None


def store_name(entry: ModelEntry, variant: Variant) -> str:
    """The name, without a version, of a pulled model in the store."""
    return f"{entry.name}-{variant}"


def version_of(commit: str) -> str:
    """The version, in the store, of a model pulled at ``commit``."""
    return commit[:12]


def staging_folder(entry: ModelEntry, variant: Variant) -> Path:
    """The folder where a model's files gather until they are whole: on the store's disk."""
    return staging_root() / store_name(entry, variant)


def staging_root() -> Path:
    """The folder for what is on its way into the store, or out of it; on the same disk."""
    root = store_folder().parent / "pulls"
    root.mkdir(parents=True, exist_ok=True)
    return root


def add(name: str, version: str, folder: Path, metadata: Mapping[str, Any]) -> Stored:
    """Move a complete folder into the store, as the model ``name:version``.

    The folder, with its description, is renamed into the store: at any moment the store either
    has the whole model or does not have it. (BentoML's own ``models.create`` copies into the
    store file by file, which leaves half a model there when it is killed, and needs the disk
    space twice.) Where that version is there already, it gets the new description, and the folder
    is deleted.

    Args:
        folder: on the same disk as the store (see ``staging_root``).
    """
    import bentoml

    model = bentoml.Model.create(
        f"{name}:{version}",
        module="",
        api_version="v1",
        signatures={},
        metadata=dict(metadata),
        context=bentoml.models.ModelContext(framework_name="diffusers", framework_versions={}),
    )
    model.flush()
    shutil.copyfile(model.path_of(DESCRIPTION), folder / DESCRIPTION)
    target = store_folder() / name / version
    target.parent.mkdir(parents=True, exist_ok=True)
    # BentoML makes this pointer again from the versions that are there.
    (target.parent / "latest").unlink(missing_ok=True)
    if target.is_dir():
        (folder / DESCRIPTION).replace(target / DESCRIPTION)
        shutil.rmtree(folder)
    else:
        folder.rename(target)
    stored = get(f"{name}:{version}")
    if stored is None:
        raise ModelError(f"BentoML does not find the model {name}:{version} in {target}.")
    return stored


def remove(entry: ModelEntry, variant: Variant) -> int:
    """Delete every version of a pulled model, and what an unfinished pull has left.

    Returns:
        The number of bytes set free; 0 if there was nothing.

    Raises:
        ModelError: the model was not pulled, but ships with the code or belongs to the user.
    """
    import bentoml

    if not isinstance(entry.source, HuggingFaceSource):
        raise ModelError(
            f"{entry.name} was not downloaded by this program, so it is not removed; its files "
            f"are where its {entry.source.type} source in the catalog says."
        )
    freed = 0
    try:
        models = bentoml.models.list(store_name(entry, variant))
    except bentoml.exceptions.NotFound:
        models = []
    for model in models:
        freed += model.file_size
        bentoml.models.delete(model.tag)
    staging = staging_folder(entry, variant)
    if staging.is_dir():
        freed += folder_size(staging)
        shutil.rmtree(staging)
    return freed


def check_room(what: str, missing: int, folder: Path) -> None:
    """Refuse to fetch what would fill the disk.

    Args:
        what: the model, for the message.
        missing: bytes to fetch.
        folder: where to.

    Raises:
        NotEnoughDisk: says what is needed and what is there.
    """
    free = shutil.disk_usage(folder).free
    if free < missing + SPARE_BYTES:
        raise NotEnoughDisk(
            f"{what} needs {readable(missing + SPARE_BYTES)} of free disk at {folder} "
            f"({readable(missing)} to fetch, {readable(SPARE_BYTES)} to spare); there are "
            f"{readable(free)}."
        )


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_size(folder: Path) -> int:
    """Bytes of all files below ``folder``."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def use(folder: Path) -> None:
    """Read models, also the fine-tuned ones, in this process from another copy of a model store.

    Raises:
        LoadError: there is no such folder.
    """
    from bentoml._internal.configuration.containers import BentoMLContainer
    from bentoml._internal.models import ModelStore

    if not folder.is_dir():
        raise LoadError(f"the model store {folder} does not exist.")
    BentoMLContainer.model_store_dir.set(str(folder))
    BentoMLContainer.model_store.set(ModelStore(folder))


def store_folder() -> Path:
    """The folder of BentoML's model store, with a folder ``name/version`` for each model."""
    # BentoML has no public name for the folder; this is where it looks itself.
    from bentoml._internal.configuration.containers import BentoMLContainer

    return Path(BentoMLContainer.model_store_dir.get())
