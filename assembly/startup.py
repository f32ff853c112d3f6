"""The start: what the settings name is found and checked, and a mistake reported in a sentence."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from api.keys.document import UnusableKeys
from api.predictions.errors import StoreUnusable
from assembly.checks import (
    UnguardedAddress,
    UnusableCompiler,
    UnusableQuantization,
    UnusableScreening,
    check_compiler,
    check_memory,
    check_quantization,
    check_screening,
)
from models.bucket import SCHEME, fetch
from models.catalog import Catalog, ModelEntry, load_catalog
from models.errors import LoadError, ModelError
from models.mounted import is_store, read_mounted
from models.mounted_loras import store_of
from models.placement import Placement, UnsupportedPrecision, place
from models.registry import with_pipelines
from models.store import resolve, use
from models.vit import ViT, find_vit
from settings import Settings
from templating.wildcards import NO_WILDCARDS, UnusableWildcards, Wildcards

logger = logging.getLogger(__name__)


@contextmanager
def explained(raised: type[BaseException] = SystemExit) -> Iterator[None]:
    """Say in one line what the user can mend, instead of a traceback.

    Args:
        raised: takes that line; by default it ends the process.
    """
    try:
        yield
    except ValidationError as error:
        mistakes = "; ".join(_sentence(mistake) for mistake in error.errors(include_url=False))
        raise raised(f"cannot start: {mistakes}") from None
    except (
        ModelError,
        UnguardedAddress,
        UnsupportedPrecision,
        UnusableCompiler,
        UnusableKeys,
        UnusableQuantization,
        UnusableScreening,
        UnusableWildcards,
        StoreUnusable,
    ) as error:
        raise raised(f"cannot start: {error}") from None


def _sentence(mistake: ErrorDetails) -> str:
    message = mistake["msg"].removeprefix("Value error, ")
    if not mistake["loc"]:
        # About two settings that contradict each other: it names them.
        return message
    return f"SD_{str(mistake['loc'][0]).upper()}={mistake['input']}: {message}"


def load_models(settings: Settings) -> Catalog:
    """The catalog with the fine-tuned pipelines of the model store.

    That is the folder of ``SD_MODEL_SOURCE``, where it is one, for this process from now on; with
    ``build_only`` the folder is one of another machine, and BentoML's own store is read.

    Raises:
        ModelError: says what is wrong with the folder, or with ``SD_CATALOG``.
    """
    source = settings.model_source
    if source is not None and not source.startswith(SCHEME) and not settings.build_only:
        use(Path(source))
    return with_pipelines(load_catalog(settings.catalog))


def is_mounted(source: str) -> bool:
    """Whether a model source is a folder with models themselves, and no model store."""
    folder = Path(source)
    return not source.startswith(SCHEME) and folder.is_dir() and not is_store(folder)


def served_entries(settings: Settings) -> tuple[ModelEntry, ...]:
    """The models that are served; the first is the default.

    They are those of ``SD_MODELS``; where ``SD_MODEL_SOURCE`` is a folder that is no model store,
    those in it, with the LoRAs in it, for this process from now on. Of a folder with LoRAs alone
    they are the bases.

    Raises:
        ModelError: says what is wrong with the folder or a name.
    """
    source = settings.model_source
    if source is None or settings.build_only or not is_mounted(source):
        if settings.model_name is not None and not settings.build_only:
            raise ModelError(
                f"SD_MODEL_NAME={settings.model_name} is to name the model in the folder that "
                "SD_MODEL_SOURCE is, which it must be then; models of a store have names: "
                "SD_MODELS chooses among them"
            )
        catalog = load_models(settings)
        return tuple(catalog.get(name) for name in settings.models)
    mounted = Path(source)
    catalog = load_catalog(settings.catalog)
    bases = [catalog.get(name) for name in settings.models]
    found = read_mounted(mounted, settings.model_name, bases)
    use(store_of(found.loras))
    entries = found.entries or tuple(bases)
    logger.info(
        "serving what is in %s: %s",
        mounted,
        ", ".join([*(entry.name for entry in entries), *(lora.name for lora in found.loras)]),
    )
    return entries


def placement(settings: Settings, entries: Sequence[ModelEntry]) -> Placement:
    """Where the models are to run, when all is checked that can be checked without loading them.

    With ``build_only`` nothing is checked, as that is about another machine.

    Raises:
        UnsupportedPrecision, ModelError, UnusableCompiler, UnusableQuantization,
        UnusableScreening: says in a sentence what to do.
    """
    if settings.build_only:
        return Placement(settings.device, settings.precision)
    here = place(settings.device, settings.precision)
    if settings.text_encoder_device == "cpu":
        here = replace(here, text_encoders="cpu")
    source = settings.model_source
    if source is not None and source.startswith(SCHEME):
        for entry in entries:
            fetch(source, entry, here.precision)
    for entry in entries:
        resolve(entry, here.precision)
    check_compiler(settings.compile, here)
    check_quantization(settings, entries)
    check_screening(settings, entries)
    check_memory(entries, here, settings.model_memory, settings.pinned_models)
    return here


def load_wildcards(settings: Settings) -> Wildcards:
    """Read the wildcards of prompt templates; none without a folder, or with ``build_only``.

    Raises:
        UnusableWildcards: says in a sentence what is wrong with which file.
    """
    folder = settings.wildcards
    if folder is None or settings.build_only:
        return NO_WILDCARDS
    try:
        return Wildcards.load(folder)
    except UnusableWildcards as error:
        raise UnusableWildcards(f"SD_WILDCARDS={folder}: {error}") from None


def find_classifier(settings: Settings) -> ViT | None:
    """What SD_CLASSIFIER names, or None where nothing is to be served.

    With ``build_only`` the embedded one stands for a folder on another machine.

    Raises:
        LoadError: says what is wrong with the folder.
    """
    choice = settings.classifier
    if settings.build_only and choice != "none":
        choice = "embedded"
    try:
        return find_vit(choice)
    except ModelError as error:
        raise LoadError(f"SD_CLASSIFIER={choice}: {error}") from None
