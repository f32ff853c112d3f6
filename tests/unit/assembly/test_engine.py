from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from diffusers.models.autoencoders.vae import Decoder
from torch.nn.modules.module import register_module_forward_pre_hook

from assembly.engine import model_source, screens, warm_up
from assembly.sizes import largest_pictures
from contract.observer import NullObserver
from contract.request import GenerationRequest
from engine.cpu.threads import ThreadPlan
from engine.cpu.tuned import CpuTuned
from engine.engine import Engine
from engine.limits import BatchLimits
from engine.pipelines.base import DiffusionModel
from engine.pipelines.load import load_model
from engine.weights.cache import WeightCache
from models.catalog import load_catalog
from models.placement import Placement
from settings import Settings
from tests.conftest import make_request
from tests.unit.engine.reference import prepare
from tests.unit.engine.toy import Toy


@pytest.mark.parametrize(("vae_pixels", "calls"), [(256 * 256, [1] * 17), (17 * 64 * 64, [17])])
def test_the_decoder_takes_as_many_pixels_as_are_set(vae_pixels: int, calls: list[int]) -> None:
    settings = Settings(vae_pixels=vae_pixels)
    source = model_source(settings, load_catalog().get("embedded"), Placement("cpu", "fp32"))
    model = source.load()
    seen: list[int] = []

    def note(module: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, Decoder):
            seen.append(len(arguments[0]))

    hook = register_module_forward_pre_hook(note)
    try:
        with torch.inference_mode():
            (state,) = prepare(model, [make_request()])
            pictures = model.decode([state] * 17)
    finally:
        hook.remove()
    assert len(pictures) == 17
    assert seen == calls


def test_a_model_that_is_loaded_again_has_all_threads() -> None:
    """Another one's last pass, in another thread, may have had one."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        source = model_source(Settings(), load_catalog().get("embedded"), Placement("cpu", "fp32"))
        with ThreadPoolExecutor(1) as engine, ThreadPoolExecutor(1) as loader:
            engine.submit(torch.set_num_threads, 1).result()
            model = loader.submit(source.load).result()
    finally:
        torch.set_num_threads(before)
    assert isinstance(model, CpuTuned)
    assert ThreadPlan(2) in model._threads._plans


def test_a_model_that_is_not_in_memory_counts_like_the_slowest_of_its_family(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def seconds(model: object, request: GenerationRequest, *_: object, **__: object) -> float:
        slow = request.model == "slow"
        return (0.05 if slow else 0.01) * request.width * request.height / 64**2

    monkeypatch.setattr("assembly.sizes.pass_seconds", seconds)
    entry = load_catalog().get("embedded")
    fast, slow, absent, alien = (
        entry.model_copy(update={"name": name, "family": family})
        for name, family in [("fast", "sd1"), ("slow", "sd1"), ("gone", "sd1"), ("alien", "sd2")]
    )
    cache: WeightCache[DiffusionModel] = WeightCache.preloaded({"fast": Toy(), "slow": Toy()})
    entries = (fast, slow, absent, alien)
    cpu = Placement("cpu", "fp32")
    assert largest_pictures(Settings(), entries, cpu, cache, BatchLimits()) == {
        "fast": 448**2,
        "slow": 192**2,
        "gone": 192**2,
        "alien": 5120,
    }
    chosen = Settings(max_pixels=10_000)
    assert largest_pictures(chosen, entries, cpu, cache, BatchLimits()) == {}


def test_a_fast_model_makes_no_larger_pictures_than_it_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def seconds(
        model: DiffusionModel, request: GenerationRequest, *_: object, **__: object
    ) -> float:
        prepare(model, [request])
        return 1e-6

    monkeypatch.setattr("assembly.sizes.pass_seconds", seconds)
    entry, cpu = load_catalog().get("embedded-3"), Placement("cpu", "fp32")
    cache = WeightCache.preloaded({entry.name: load_model(entry, cpu)})
    # Its positions end at 16 patches of 8 pixels.
    largest = largest_pictures(Settings(), [entry], cpu, cache, BatchLimits())
    assert largest == {"embedded-3": 128**2}


def test_a_first_picture_that_is_rejected_is_a_first_picture() -> None:
    """One of two steps looks like nothing, and any picture reaches a threshold of 0."""
    settings = Settings(nsfw_threshold=0)
    entry = load_catalog().get("embedded").model_copy(update={"screening": {"nsfw": "reject"}})
    source = model_source(settings, entry, Placement("cpu", "fp32"))
    engine = Engine(
        WeightCache.preloaded({"embedded": source.load()}),
        screens=screens(settings, (entry,), NullObserver()),
    )
    warm_up(engine, entry)
    engine.close()


def test_nudity_is_not_loaded_where_no_model_is_screened_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heavy = {"nudenet", "onnxruntime", "cv2"}
    for name in [name for name in sys.modules if name.partition(".")[0] in heavy]:
        monkeypatch.delitem(sys.modules, name)
    screens(Settings(screen_blank="reject"), tuple(load_catalog()), NullObserver())
    assert not heavy & set(sys.modules)
