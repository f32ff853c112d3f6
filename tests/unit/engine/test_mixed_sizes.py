"""Pictures of different sizes in one pass: each is what it is alone."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch

from contract.request import GenerationRequest, LoraUse
from engine.denoising.state import DenoisingState
from engine.engine import Engine
from engine.limits import BatchLimits
from engine.lora.adapter import Adapter, LowRank
from engine.pipelines.base import DiffusionModel
from engine.pipelines.packed_mmdit import PackedMMDiT
from engine.pipelines.stable_diffusion_3 import StableDiffusion3
from engine.weights.cache import WeightCache
from tests.conftest import make_request
from tests.unit.engine.conftest import Client, Gate, Recorder, in_two_parts
from tests.unit.engine.lora.lora_files import write_diffusers
from tests.unit.engine.reference import (
    assert_same_picture,
    denoise,
    in_channels_last,
    prepare,
    request_for,
    stock,
)
from tests.unit.models import tiny

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")

SIZES = ((48, 48), (32, 64), (32, 32))
PICTURES = (*SIZES, *reversed(SIZES))
SKIPS: dict[str, Any] = {"skip_layers": (0, 3), "skip_layer_end": 0.9}
ATTENTION = ("to_q", "to_k", "to_out.0", "add_k_proj", "to_add_out")


@pytest.fixture(scope="module")
def model() -> StableDiffusion3:
    return StableDiffusion3(tiny.sd3(newer=True), mixed_sizes=True)


def request_of(size: tuple[int, int], task: str, **changes: Any) -> GenerationRequest:
    """With a picture and a mask of that size, where the task has them."""
    width, height = size
    fields: dict[str, Any] = {
        "width": width,
        "height": height,
        "num_inference_steps": 3,
        "seed": width + height,
    }
    if task == "inpaint":
        kept = width * height // 3
        fields["mask"] = bytes(kept) + b"\xff" * (width * height - kept)
    if task != "txt2img":
        fields["init_image"] = bytes(value * 7 % 256 for value in range(3 * width * height))
        fields["strength"] = 0.8
    return request_for("euler", "txt2img", b"", **(fields | changes))


def company() -> list[GenerationRequest]:
    """Every task at every size, with skipped layers, without guidance, of different lengths."""
    tasks = cycle([("txt2img", SKIPS), ("img2img", {}), ("txt2img", {"guidance_scale": 1.0})])
    requests = [
        request_of(size, task, **more) for size, (task, more) in zip(PICTURES, tasks, strict=False)
    ]
    masked = [request_of(size, "inpaint", num_inference_steps=4) for size in SIZES[:2]]
    return [*requests, *masked]


def difference(state: DenoisingState, alone: DenoisingState) -> float:
    return float((state.latents - alone.latents).abs().max() / alone.latents.abs().max())


@pytest.mark.slow
def test_in_any_company_it_is_the_stock_pipelines_picture(model: StableDiffusion3) -> None:
    requests = company()
    states = denoise(model, requests)
    assert len({state.pass_key for state in states}) == 1
    assert len({state.shape_key for state in states}) == len(SIZES)
    reference = in_channels_last(tiny.sd3(newer=True))
    for request, state in zip(requests, states, strict=True):
        assert difference(state, denoise(model, [request])[0]) <= 1e-5
        assert_same_picture(model, state, stock(reference, request, "pil")[0])


def test_in_two_parts_at_the_same_time(model: StableDiffusion3) -> None:
    requests = company()
    together, apart = denoise(in_two_parts(model), requests), denoise(model, requests)
    assert max(map(difference, together, apart)) <= 1e-5


def test_of_a_transformer_that_sees_the_mask() -> None:
    model = StableDiffusion3(tiny.sd3(channels=33), mixed_sizes=True)
    requests = [request_of(size, "inpaint") for size in SIZES]
    states = denoise(model, requests)
    assert len({state.pass_key for state in states}) == 1
    for request, state in zip(requests, states, strict=True):
        assert difference(state, denoise(model, [request])[0]) <= 1e-5


def test_each_has_its_loras(model: StableDiffusion3, tmp_path: Path) -> None:
    """One of them for every layer of the transformer: of some, the tokens of all are in one row."""
    write_diffusers(tmp_path / "a", tiny.sd3(newer=True), seed=1, unet=(), transformer=ATTENTION)
    loaded = model.load_adapter(tmp_path / "a")
    adapters = {"a:1": loaded, "b:1": everywhere(tiny.sd3(newer=True).transformer)}
    a, b = LoraUse("a:1", 0.8), LoraUse("b:1", -0.5)
    uses = cycle([(a,), (), (a, b), (b,), (b,)])
    requests = [
        request_of(size, task, loras=each, **SKIPS)
        for size, task, each in zip(PICTURES, cycle(["txt2img", "img2img", "txt2img"]), uses)
    ]
    states = denoise(model, requests, adapters)
    for request, state in zip(requests, states, strict=True):
        assert difference(state, denoise(model, [request], adapters)[0]) <= 1e-5
    without = denoise(model, [request_of(SIZES[0], "txt2img", **SKIPS)])[0]
    assert difference(states[0], without) > 1e-3, "the LoRAs do something"


def everywhere(transformer: Any) -> Adapter:
    """A LoRA for all layers that can have one."""
    generator = torch.Generator().manual_seed(0)
    layers = {}
    for path, layer in transformer.named_modules():
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
            out, into, *kernel = layer.weight.shape
            down = torch.randn((2, into, *kernel), generator=generator)
            up = torch.randn((out, 2, *(1 for _ in kernel)), generator=generator)
            layers[path] = LowRank(0.1 * down, 0.1 * up, 0.5)
    return Adapter({"transformer": layers})


def test_in_half_precision_too() -> None:
    pipeline = tiny.sd3(newer=True).to(torch.float16)
    model = StableDiffusion3(pipeline, mixed_sizes=True)
    states = prepare(model, [request_of(size, "txt2img") for size in SIZES])
    with torch.inference_mode():
        together = model.forward(states, sum(state.rows for state in states))
        for state, prediction in zip(states, together, strict=True):
            alone = model.forward([state], state.rows)[0]
            assert (prediction - alone).abs().max() <= 1e-2 * alone.abs().max()


def test_only_what_was_made_for_it_mixes_sizes() -> None:
    model = StableDiffusion3(tiny.sd3())
    states = prepare(model, [request_of(size, "txt2img") for size in SIZES])
    assert len({state.pass_key for state in states}) == len(SIZES)
    with pytest.raises(ValueError, match="different sizes"), torch.inference_mode():
        model.forward(states, 8)


def test_a_packing_has_the_tokens_of_each_row_behind_one_another() -> None:
    transformer = PackedMMDiT(tiny.sd3().transformer)
    packing = transformer.packing([torch.zeros(2, 16, 4, 6), torch.zeros(1, 16, 2, 2)])
    assert packing.tokens == (slice(0, 6), slice(6, 12), slice(12, 13))


def run_beside(model: DiffusionModel, recorder: Recorder, **limits: Any) -> tuple[Client, Client]:
    """A long job, and one of another size that comes when its first pass is running."""
    gate = Gate(model)
    engine = Engine(
        WeightCache.preloaded({"embedded": gate}),
        limits=BatchLimits(**limits),
        observer=recorder,
    )
    try:
        long = make_request(width=32, height=32, scheduler="euler", num_inference_steps=12)
        short = make_request(width=48, height=48, scheduler="euler", num_inference_steps=3)
        first = Client(engine, long)
        assert gate.entered.wait(60)
        second = Client(engine, short)
        gate.memory = 3 if limits.get("rows") == 4 else gate.memory
        gate.open.set()
        first.image(), second.image()
        return first, second
    finally:
        gate.open.set()
        engine.close()


def test_a_job_joins_the_passes_of_another_size(
    model: StableDiffusion3, recorder: Recorder
) -> None:
    run_beside(model, recorder)
    assert recorder.batches.count(2) == 3, "the steps of the short one"
    assert recorder.batches[-1] == 1


def test_what_does_not_fit_into_memory_is_taken_apart(
    model: StableDiffusion3, recorder: Recorder
) -> None:
    run_beside(model, recorder, rows=4)
    assert recorder.overflows > 0
    assert set(recorder.batches) == {1}
