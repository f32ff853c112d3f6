"""Puts an engine together for a runner process."""

from __future__ import annotations

import logging
import threading

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from engine.batch import BatchLimits
from engine.engine import Engine
from engine.events import Event, Failed, Image
from engine.families.load import load_family
from engine.precision import Placement
from engine.request import GenerationRequest
from engine.threads import choose_threads
from models.catalog import ModelEntry
from runners.metrics import PrometheusObserver
from settings import Settings

logger = logging.getLogger(__name__)


def build_engine(
    settings: Settings, entries: tuple[ModelEntry, ...], placement: Placement
) -> Engine:
    """Load the models, start the engine, and let each model make a picture.

    Raises:
        models.errors.ModelError: a model is missing or not loadable.
        RuntimeError: torch cannot use the device, or a warm-up picture failed.
    """
    if placement.device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(
            f"there is a GPU, but torch {torch.__version__} cannot use it: check that its CUDA "
            "version fits the driver, or set SD_DEVICE=cpu"
        )
    # Bars on stderr are for people at a terminal; a service has log lines.
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    families = {entry.name: load_family(entry, placement) for entry in entries}
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    elif placement.device == "cpu":
        default = entries[0]
        threads = choose_threads(families[default.name], warm_up_request(default))
        logger.info("%d CPU threads: the fastest for %s", threads, default.name)
    engine = Engine(
        families,
        limits=BatchLimits(rows=settings.max_batch_rows, pixels=settings.max_batch_pixels),
        max_queue=settings.max_queue,
        observer=PrometheusObserver(),
    )
    for entry in entries:
        warm_up(engine, entry)
    return engine


def warm_up_request(entry: ModelEntry) -> GenerationRequest:
    """A picture of the model's default size and guidance in as few steps as possible."""
    return GenerationRequest(
        request_id=f"warm-up-{entry.name}",
        model=entry.name,
        prompt="a red apple",
        width=entry.defaults.width,
        height=entry.defaults.height,
        num_inference_steps=2,
        guidance_scale=entry.defaults.guidance_scale,
        scheduler=entry.defaults.scheduler,
        seed=0,
    )


def warm_up(engine: Engine, entry: ModelEntry) -> None:
    """Make one picture with the model's defaults; raise ``RuntimeError`` if that fails."""
    done = threading.Event()
    results: list[Image | Failed] = []

    def emit(event: Event) -> None:
        if isinstance(event, Image | Failed):
            results.append(event)
            done.set()

    engine.submit(warm_up_request(entry), emit)
    done.wait()
    if isinstance(results[0], Failed):
        raise RuntimeError(f"{entry.name} failed to make a first picture: {results[0].message}")
    logger.info("%s is ready", entry.name)
