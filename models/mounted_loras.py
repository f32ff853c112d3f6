"""A model store of LoRAs that lie elsewhere: a private folder with links to their files."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import yaml

from models.lora import LORA_FILE
from models.mounted import MountedLora
from models.store import DESCRIPTION, sha256_of
from models.versions import metadata

_DIGITS: Final = 12


def store_of(loras: Iterable[MountedLora]) -> Path:
    """Make a store for this process, which lasts as long as it.

    The versions are hashes of the files: the same in every process.
    """
    store = Path(tempfile.mkdtemp(prefix="sd-loras-"))
    atexit.register(shutil.rmtree, store, ignore_errors=True)
    for lora in loras:
        folder = store / lora.name / sha256_of(lora.file)[:_DIGITS]
        folder.mkdir(parents=True)
        (folder / LORA_FILE).symlink_to(lora.file.resolve())
        description = {
            "creation_time": lora.provenance.created.isoformat(),
            "metadata": dict(metadata("lora", lora.provenance)),
        }
        (folder / DESCRIPTION).write_text(yaml.safe_dump(description), encoding="utf-8")
    return store
