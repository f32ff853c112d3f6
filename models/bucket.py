"""An S3 bucket of models, and how they come into the store.

The bucket's prefix holds a copy of a model store, as ``aws s3 sync $BENTOML_HOME/models
s3://bucket/prefix`` makes it: ``<name>/<version>/`` with the files, and ``<name>/latest``. Address
and credentials are those of the AWS tools: ``AWS_REGION``, ``AWS_ENDPOINT_URL``, keys or a role.
"""

from __future__ import annotations

import logging
import shutil
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import yaml
from filelock import FileLock

from models.catalog import ModelEntry
from models.errors import DownloadError, ModelError
from models.store import (
    DESCRIPTION,
    Stored,
    add,
    check_room,
    find,
    sha256_of,
    staging_folder,
    tag_of,
    variant_for,
)

if TYPE_CHECKING:
    from obstore.store import S3Store

logger = logging.getLogger(__name__)

SCHEME = "s3://"
CHUNK = 8 * 1024 * 1024


def open_bucket(where: str, seconds: int = 300) -> S3Store:
    """The prefix of a bucket, ``s3://bucket/prefix``.

    Args:
        seconds: that one request may take; one that fails is made again for as long, at most 180.

    Raises:
        ModelError: obstore is not installed.
    """
    try:
        from obstore.store import S3Store
    except ImportError:
        raise ModelError(
            "models from S3 need a package that is not installed; "
            "run: pip install -r requirements-s3.txt"
        ) from None
    return S3Store.from_url(
        where,
        client_options={"allow_http": True, "timeout": f"{seconds}s"},
        retry_config={"retry_timeout": timedelta(seconds=min(seconds, 180))},
    )


def fetch(source: str, entry: ModelEntry, precision: str) -> Stored | None:
    """Copy a model from the bucket, unless the store has it.

    The files are compared with the hashes that were recorded when the model was pulled, and the
    store shows the model only when it is whole. Of several processes one copies; the others wait.

    Args:
        source: ``s3://bucket/prefix``.

    Returns:
        The model; None if the entry's files are none of the store's (embedded, a folder, a file).

    Raises:
        VariantUnavailable: the model does not exist in this precision.
        DownloadError, NotEnoughDisk: says what is missing, or why it cannot be had.
    """
    variant = variant_for(entry, precision)
    tag = tag_of(entry, variant)
    if tag is None:
        return None
    staging = staging_folder(entry, variant)
    staging.mkdir(parents=True, exist_ok=True)
    with FileLock(staging.parent / f"{staging.name}.lock"):
        stored = find(entry, variant)
        if stored is None:
            name, _, version = tag.partition(":")
            stored = _fetch(source, name, version or "latest", staging)
    return stored


def _fetch(source: str, name: str, version: str, staging: Path) -> Stored:
    bucket = open_bucket(source)
    from obstore.exceptions import BaseError

    try:
        if version == "latest":
            version = bytes(bucket.get(f"{name}/latest").bytes()).decode().strip()
        where = f"{source.rstrip('/')}/{name}/{version}"
        folder = staging / version
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        _download(bucket, f"{name}/{version}/", where, folder)
    except (BaseError, OSError) as error:
        raise DownloadError(f"{name}:{version} cannot be fetched from {source}: {error}") from error
    metadata = _checked(folder, where)
    stored = add(name, version, folder, metadata)
    shutil.rmtree(staging)
    return stored


def _download(bucket: S3Store, prefix: str, where: str, folder: Path) -> None:
    objects = [item for batch in bucket.list(prefix) for item in batch]
    if not any(item["path"] == prefix + DESCRIPTION for item in objects):
        raise DownloadError(f"{where} is no model of a model store: it has no {DESCRIPTION}.")
    size = sum(item["size"] for item in objects)
    check_room(where, size, folder)
    logger.info("fetching %d files from %s", len(objects), where)
    for item in objects:
        relative = PurePosixPath(item["path"].removeprefix(prefix))
        if relative.is_absolute() or ".." in relative.parts:
            raise DownloadError(f"{where} has an object with an unsafe name: {item['path']!r}.")
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            for chunk in bucket.get(item["path"]).stream(CHUNK):
                file.write(chunk)


def _checked(folder: Path, where: str) -> dict[str, Any]:
    """The metadata of a fetched model, when its files have the hashes that it records."""
    try:
        description = yaml.safe_load((folder / DESCRIPTION).read_text(encoding="utf-8"))
        metadata: dict[str, Any] = description["metadata"] or {}
        hashes: dict[str, str] = metadata.get("files", {})
        for path, expected in hashes.items():
            if sha256_of(folder / path) != expected:
                raise DownloadError(f"{where}/{path} is damaged: its SHA-256 is not {expected}.")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise DownloadError(f"{where} is incomplete: {error}") from error
    return metadata
