"""The pull of a model from the Hugging Face hub into the store."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm import tqdm

from models.catalog import ModelEntry, Variant
from models.errors import DownloadError, ModelError
from models.hub import Hub, HubFile, Snapshot
from models.selection import INDEX, select
from models.sources import HuggingFaceSource
from models.store import (
    Stored,
    add,
    check_room,
    find,
    folder_size,
    get,
    is_commit,
    sha256_of,
    staging_folder,
    store_name,
    variant_for,
    version_of,
)
from models.weights import check_folder, components, read_index


def pull(entry: ModelEntry, precision: str, *, hub: Hub | None = None) -> Stored:
    """Download a model in one precision and register it in the store.

    Can be killed at any time: the next call continues, and the store only ever shows whole
    models. A model that is there already is returned at once.

    Args:
        hub: by default the one of ``HF_ENDPOINT``.

    Raises:
        ModelError: the entry does not come from the hub.
        VariantUnavailable, UnsafeWeights: the repository has no such files, or unsafe ones only.
        GatedModel, NotEnoughDisk, DownloadError: what to do is in the message.
    """
    source = entry.source
    if not isinstance(source, HuggingFaceSource):
        raise ModelError(f"{entry.name} is a local model ({source.type}): nothing to download.")
    variant = variant_for(entry, precision)
    hub = hub or Hub()
    staging = staging_folder(entry, variant)
    staging.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(staging.parent / f"{staging.name}.lock", timeout=0):
            return _pull(entry, source, variant, hub, staging)
    except Timeout as error:
        raise DownloadError(
            f"{entry.name} in {variant} is being pulled by another process."
        ) from error


def _pull(
    entry: ModelEntry, source: HuggingFaceSource, variant: Variant, hub: Hub, staging: Path
) -> Stored:
    if is_commit(source.revision) and (stored := find(entry, variant)) is not None:
        return stored
    snapshot = hub.snapshot(source)
    name, version = store_name(entry, variant), version_of(snapshot.commit)
    if (stored := get(f"{name}:{version}")) is not None:
        return stored
    folder = staging / version
    for other in staging.iterdir():
        # The branch has moved on since an unfinished pull.
        if other != folder:
            shutil.rmtree(other)
    files = _choose(source, variant, hub, snapshot, folder)
    total = sum(file.size for file in files)
    check_room(f"{entry.name} in {variant}", max(0, total - folder_size(folder)), folder)
    with tqdm(
        total=total, desc=f"{entry.name} {variant}", unit="B", unit_scale=True, disable=None
    ) as bar:
        for file in files:
            hub.fetch(source, snapshot, file, folder, bar.update)
    check_folder(folder, components(read_index(folder)))
    metadata: dict[str, Any] = {
        "name": entry.name,
        "family": entry.family,
        "precision": variant,
        "repo": source.repo,
        "revision": source.revision,
        "commit": snapshot.commit,
        "licence": entry.licence,
        "size": total,
        "files": {file.path: file.sha256 or sha256_of(folder / file.path) for file in files},
    }
    stored = add(name, version, folder, metadata)
    shutil.rmtree(staging)
    return stored


def _choose(
    source: HuggingFaceSource, variant: Variant, hub: Hub, snapshot: Snapshot, folder: Path
) -> tuple[HubFile, ...]:
    """The files to fetch. The index, which tells them, is the first that is fetched."""
    for file in snapshot.files:
        if file.path == INDEX:
            hub.fetch(source, snapshot, file, folder, lambda _: None)
            return select(snapshot, read_index(folder), variant)
    raise DownloadError(f"{source.repo} is not a diffusers pipeline repository: it has no {INDEX}.")
