"""The engine as the settings describe it: models, LoRAs, screening, limits, threads."""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from time import sleep

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from assembly.first_picture import first_request
from assembly.fit import check_fit
from assembly.sizes import largest_pictures
from contract.errors import ErrorCode, RequestError
from contract.observer import Observer, WeightKind
from engine.blocking import generate
from engine.cpu.threads import ThreadPlan, ThreadTuner
from engine.cpu.tuned import CpuTuned
from engine.engine import Engine
from engine.limits import BUCKETS, PIXELS, BatchLimits
from engine.lora.adapter import Adapter
from engine.pipelines.base import DiffusionModel
from engine.pipelines.compile import compile_denoiser
from engine.pipelines.invariant import BatchInvariant
from engine.pipelines.load import load_model
from engine.pipelines.pass_shape import PassShape
from engine.screening.appearance import Blank, Grayscale
from engine.screening.nudity import Nudity
from engine.screening.screen import Check, Screen
from engine.weights.cache import WeightCache
from engine.weights.probe import affordable_pixels
from engine.weights.source import Source
from models.budget import model_footprint
from models.catalog import ModelEntry
from models.identity import NO_IDENTITIES, Identities, identify
from models.placement import Placement
from models.shared_modules import SharedModules
from settings import Settings

logger = logging.getLogger(__name__)

# Of a block in invariant mode: fewer cost more for each row, more are padded more (docs/engine.md).
BLOCK_ROWS = 8
# For the last events to reach the clients; the status is BSD's EX_UNAVAILABLE.
LAST_SECONDS = 2.0
DEVICE_LOST = 69


def build_engine(
    settings: Settings,
    entries: tuple[ModelEntry, ...],
    placement: Placement,
    stored_loras: Mapping[str, Source[Adapter]],
    observer: Observer,
) -> Engine:
    """Load the models that fit, start the engine, and let each of them make a picture.

    Args:
        stored_loras: what can be applied to the models, by tags; may come and go.
        observer: receives the measurements.

    Raises:
        models.errors.ModelError: a model is missing or not loadable.
        RuntimeError: torch cannot use the device, or a warm-up picture failed.
    """
    if placement.device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(
            f"there is a GPU, but torch {torch.__version__} cannot use it: check that its CUDA "
            "version fits the driver, or set SD_DEVICE=cpu"
        )
    # The libraries stay: later collections, which hold up the passes, need not look at them. The
    # models, which may be evicted, come after this.
    gc.collect()
    gc.freeze()
    # Bars on stderr are for people at a terminal; a service has log lines.
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    identities = identify(entries, placement.precision)
    shared = SharedModules(identities)
    check_fit(settings, entries, placement, identities)
    cache = WeightCache(
        {
            entry.name: model_source(settings, entry, placement, identities, shared)
            for entry in entries
        },
        budget=settings.model_memory,
        observer=observer,
    )
    names = cache.load_all()
    loaded = [entry for entry in entries if entry.name in names]
    loras = None
    if settings.offers_loras:
        loras = WeightCache(
            stored_loras,
            budget=settings.lora_memory,
            kind=WeightKind.LORA,
            observer=observer,
        )
    limits = batch_limits(settings, entries, placement, cache)
    engine = Engine(
        cache,
        loras=loras,
        limits=limits,
        max_queue=settings.max_queue,
        max_per_tenant=settings.places_per_client,
        max_pixels=largest_pictures(settings, entries, placement, cache, limits),
        observer=observer,
        screens=screens(settings, entries, observer),
        device=placement.device,
        stuck_seconds=settings.stuck_seconds,
        on_device_lost=end_process,
    )
    for entry in loaded:
        warm_up(engine, entry)
    return engine


def end_process() -> None:
    """End a process whose device is lost, once its clients have been told. Its host starts a new
    one."""

    def end() -> None:
        sleep(LAST_SECONDS)
        # Nothing of torch may be waited for.
        os._exit(DEVICE_LOST)

    threading.Thread(target=end, name="last-words", daemon=True).start()


def screens(
    settings: Settings, entries: tuple[ModelEntry, ...], observer: Observer
) -> dict[str, Screen]:
    """What the pictures of each model go through, by its name; models share the checks."""
    actions = {entry.name: settings.screening(entry) for entry in entries}
    checks: list[Check] = [Grayscale(), Blank()]
    if any(of_model["nsfw"] != "off" for of_model in actions.values()):
        checks.append(Nudity(settings.nsfw_labels, settings.nsfw_threshold))
    return {
        name: Screen([(check, of_model[check.name]) for check in checks], observer)
        for name, of_model in actions.items()
    }


def model_source(
    settings: Settings,
    entry: ModelEntry,
    placement: Placement,
    identities: Identities = NO_IDENTITIES,
    shared: SharedModules | None = None,
) -> Source[DiffusionModel]:
    """How to load a model, and the memory that it takes.

    Args:
        identities: of text encoders that it shares with other models, in ``shared``.
    """
    footprint = model_footprint(entry, placement, identities)
    # Now: a thread that asks torch later is told what another one has set for a single pass.
    threads = settings.threads or torch.get_num_threads()
    return Source(
        partial(_load, settings, entry, placement, shared, threads),
        memory=footprint.total,
        pinned=entry.name in settings.pinned_models,
        shared=footprint.shared,
    )


def _load(
    settings: Settings,
    entry: ModelEntry,
    placement: Placement,
    shared: SharedModules | None,
    threads: int,
) -> DiffusionModel:
    on_cpu = placement.device == "cpu"
    limits = BatchLimits(
        settings.max_batch_rows,
        settings.max_batch_pixels or PIXELS,
        block=BLOCK_ROWS if settings.invariant else None,
    )
    # OpenVINO has threads of its own, and one pass at a time.
    blocks = threads if settings.invariant and on_cpu and settings.compile != "openvino" else 1
    model = load_model(
        entry,
        placement,
        vae_pixels=settings.vae_pixels,
        invariant=settings.invariant,
        shared=shared,
        compiler=partial(
            compile_denoiser,
            compiler=settings.compile,
            threads=1 if blocks > 1 else threads,
            warm=pass_shapes(settings.compile, entry, limits),
            # Which passes run compiled, and round otherwise, is not to be a matter of time there.
            aside=not settings.invariant,
        ),
        mixed_sizes=settings.mixed_sizes,
    )
    if settings.invariant:
        model = BatchInvariant(model, limits, parallel=blocks)
    return CpuTuned(model, thread_tuner(settings, threads)) if on_cpu else model


def batch_limits(
    settings: Settings,
    entries: tuple[ModelEntry, ...],
    placement: Placement,
    cache: WeightCache[DiffusionModel],
) -> BatchLimits:
    """The bounds of a pass: as set, else measured with each model, else the defaults.

    A model that is not in memory counts like the one that can do least.
    """
    limits = BatchLimits(
        rows=settings.max_batch_rows,
        buckets=BUCKETS if pads_rows(settings, placement) else (),
        block=BLOCK_ROWS if settings.invariant else None,
        seconds=settings.max_pass_seconds,
    )
    if settings.max_batch_pixels is not None:
        return replace(limits, pixels=settings.max_batch_pixels)
    # The blocks of invariant mode are set before a model is there to be measured.
    if placement.device != "cuda" or settings.invariant:
        return limits
    own = {
        entry.name: affordable_pixels(cache.use(entry.name), first_request(entry))
        for entry in entries
        if cache.available(entry.name)
    }
    for name, pixels in own.items():
        logger.info("passes of %s hold up to %d rows x pixels", name, pixels)
    return replace(limits, pixels=min(own.values()), own_pixels=own)


def pads_rows(settings: Settings, placement: Placement) -> bool:
    return placement.device == "cuda" if settings.pad_rows is None else settings.pad_rows


def thread_tuner(settings: Settings, threads: int) -> ThreadTuner:
    """So many CPU threads where it matters to the last bit, or they are set; else up to that, as
    is faster."""
    if settings.threads is not None or settings.invariant:
        return ThreadTuner([ThreadPlan(threads)])
    # OpenVINO has threads of its own, and one pass at a time.
    return ThreadTuner.automatic(threads, divide=settings.compile != "openvino")


def pass_shapes(compiler: str, entry: ModelEntry, limits: BatchLimits) -> list[PassShape]:
    """The shapes of passes over pictures of the model's default size: every number of rows that
    passes are padded to, so that no such request waits for a compiler."""
    width, height = entry.defaults.width, entry.defaults.height
    scale = entry.architecture.vae_scale
    capacity = limits.capacity(width * height)
    rows = [each for each in BUCKETS if each <= capacity]
    if limits.block is not None:
        rows = [limits.block_rows(width * height)]
    # OpenVINO's graph takes texts of any length.
    chunks = (1, 2) if compiler == "inductor" else (1,)
    return [
        PassShape(each, height // scale, width // scale, tokens=77 * count)
        for count in chunks
        for each in rows
    ]


def warm_up(engine: Engine, entry: ModelEntry) -> None:
    """Make one picture with the model's defaults; raise ``RuntimeError`` if that fails."""
    try:
        generate(engine, first_request(entry))
    except RequestError as error:
        # One of so few steps may well look like nothing.
        if error.code is not ErrorCode.CONTENT_POLICY_VIOLATION:
            raise RuntimeError(
                f"{entry.name} failed to make a first picture: {error.message}"
            ) from error
    logger.info("%s is ready", entry.name)
