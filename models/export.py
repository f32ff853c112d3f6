"""The export: a model as a bare folder, on a disk or in a bucket, which a service serves as it is.

Beside the files is a note of what they do not say themselves (``models.export_note``). It is
written last: where it is, the export is whole. An export that was broken off goes on where it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from tqdm import tqdm

from models import registry
from models.bucket import CHUNK, SCHEME, open_bucket
from models.catalog import Catalog, ModelEntry
from models.errors import DownloadError, LoadError, ModelError
from models.export_note import NOTE, EntryNote, ExportNote
from models.finetuned import FineTuned
from models.lora import LORA_FILE
from models.sources import FileSource
from models.store import check_room, resolve, sha256_of
from models.weights import components, folder_variant, read_index, variant_of

_INDEX: Final = "model_index.json"
# The end of the name of a file that is not whole yet.
_PART: Final = ".part"
# Configs, vocabularies, and what SentencePiece has.
_SMALL: Final = frozenset({".json", ".txt", ".model"})

Progress = Callable[[int], object]


class Destination(Protocol):
    """Where an export goes to."""

    def names(self) -> set[str]:
        """The files that are there, by their paths below it."""
        ...

    def has(self, name: str, file: Path, sha256: str) -> bool:
        """Whether a file is there already, byte for byte."""
        ...

    def write(self, name: str, chunks: Iterator[bytes], sha256: str) -> None:
        """Write a file, which is there when it is whole."""
        ...


def export(
    catalog: Catalog, name: str, precision: str, destination: Destination, where: str
) -> int:
    """Write a model's files, and then the note.

    Args:
        catalog: has the models that are not fine-tuned.
        name: of one of those, or of a fine-tuned model.
        precision: fp32 or fp16: which of its weights, where there are both.
        destination: empty, or with a part of the same export.
        where: its name, for messages.

    Returns:
        Bytes of all files.

    Raises:
        ModelError: the model is not here, or something else is at the destination.
    """
    files, note = _contents(catalog, name, precision)
    foreign = destination.names() - files.keys() - {NOTE}
    if foreign:
        raise ModelError(
            f"{where} has other files, such as {min(foreign)}: export to an empty place."
        )
    size = copy(files, destination, name)
    destination.write(NOTE, iter([note.to_yaml().encode()]), "")
    return size


def copy(files: Mapping[str, Path], destination: Destination, name: str) -> int:
    """Write files that are not there yet.

    Args:
        files: by their paths at the destination.
        name: of them all, for the progress bar.

    Returns:
        Bytes of all files.
    """
    size = sum(file.stat().st_size for file in files.values())
    with tqdm(total=size, desc=name, unit="B", unit_scale=True, disable=None) as bar:
        for path, file in files.items():
            digest = sha256_of(file)
            if destination.has(path, file, digest):
                bar.update(file.stat().st_size)
            else:
                destination.write(path, _chunks(file, bar.update), digest)
    return size


def destination_of(where: str) -> Destination:
    """The folder or the bucket that a command names.

    Raises:
        ModelError: S3's package is not installed.
    """
    return Bucket(where) if where.startswith(SCHEME) else Folder(Path(where))


class Folder:
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def names(self) -> set[str]:
        return {
            path.relative_to(self._folder).as_posix()
            for path in self._folder.rglob("*")
            if path.is_file() and path.suffix != _PART
        }

    def has(self, name: str, file: Path, sha256: str) -> bool:
        target = self._folder / name
        same_size = target.is_file() and target.stat().st_size == file.stat().st_size
        if not same_size:
            check_room(name, file.stat().st_size, self._folder)
        return same_size and sha256_of(target) == sha256

    def write(self, name: str, chunks: Iterator[bytes], sha256: str) -> None:
        target = self._folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + _PART)
        with part.open("wb") as stream:
            for chunk in chunks:
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(target)


class Bucket:
    """A prefix of an S3 bucket: ``s3://bucket/prefix``. Each object has its SHA-256 with it.

    Address and credentials are those of the AWS tools (``models.bucket``).
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._store = open_bucket(where)

    def names(self) -> set[str]:
        try:
            return {item["path"] for batch in self._store.list() for item in batch}
        except Exception as error:
            raise self._failed(error) from error

    def has(self, name: str, file: Path, sha256: str) -> bool:
        try:
            found = self._store.get(name, options={"head": True})
        except FileNotFoundError:
            return False
        except Exception as error:
            raise self._failed(error) from error
        return (
            found.meta["size"] == file.stat().st_size and found.attributes.get("sha256") == sha256
        )

    def write(self, name: str, chunks: Iterator[bytes], sha256: str) -> None:
        try:
            # In parts, and only there when they all are.
            self._store.put(name, chunks, attributes={"sha256": sha256} if sha256 else None)
        except Exception as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> DownloadError:
        # Behind its first line comes what its developers want to know.
        reason = str(error).partition("\n")[0]
        return DownloadError(
            f"{self._where} cannot be written to: {reason}; run the same command again to go on."
        )


def _contents(catalog: Catalog, name: str, precision: str) -> tuple[dict[str, Path], ExportNote]:
    """The files of a model by their paths in the export, and its note."""
    tuned = next((one for one in registry.finetuned() if one.name == name), None)
    if tuned is not None and tuned.kind == "lora":
        return _lora(tuned)
    entry = registry.with_pipelines(catalog).get(name)
    location = resolve(entry, precision)
    files = (
        pipeline_files(location, precision)
        if location.is_dir()
        else _checkpoint_files(entry, location, precision)
    )
    return files, ExportNote(name=entry.name, entry=EntryNote.of(entry))


def _lora(model: FineTuned) -> tuple[dict[str, Path], ExportNote]:
    note = ExportNote(name=model.name, provenance=model.provenance)
    return {LORA_FILE: model.path / LORA_FILE}, note


def _checkpoint_files(entry: ModelEntry, file: Path, precision: str) -> dict[str, Path]:
    """A checkpoint, with its configs in a folder beside it."""
    if not isinstance(entry.source, FileSource):
        raise LoadError(f"{entry.name}: {file} is a single file, and its entry names no config.")
    configs = {
        f"config/{path}": one
        for path, one in pipeline_files(entry.source.config, precision).items()
        if variant_of(PurePosixPath(path).name) is None
    }
    return {"model.safetensors": file, **configs}


def pipeline_files(folder: Path, precision: str) -> dict[str, Path]:
    """What of a pipeline folder is needed in a precision, by the paths in it.

    Raises:
        LoadError: it is none.
        UnsafeWeights: a component comes from a foreign library.
    """
    names = components(read_index(folder))
    wanted = folder_variant(folder, names, half=precision == "fp16")
    files = {_INDEX: folder / _INDEX}
    for name in names:
        there = sorted(path for path in (folder / name).glob("*") if path.is_file())
        kinds = {variant_of(path.name) for path in there if path.suffix == ".safetensors"}
        kind = wanted if wanted in kinds else next(iter(kinds - {None}), None)
        for path in there:
            own = variant_of(path.name)
            if (own is None and path.suffix in _SMALL) or (own is not None and own == kind):
                files[f"{name}/{path.name}"] = path
    return files


def _chunks(file: Path, progress: Progress) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk
            progress(len(chunk))
