"""Invariant mode: to the last bit, a picture does not depend on who shares its passes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from contract.observer import WeightKind
from contract.request import GenerationRequest, LoraUse
from engine.cpu.threads import ThreadPlan, ThreadTuner
from engine.cpu.tuned import CpuTuned
from engine.denoising.samplers import SAMPLERS
from engine.denoising.state import DenoisingState
from engine.engine import Engine
from engine.limits import BatchLimits
from engine.pipelines.base import DiffusionModel
from engine.pipelines.invariant import BatchInvariant
from engine.pipelines.stable_diffusion import StableDiffusion
from engine.weights.cache import WeightCache
from tests.conftest import make_request
from tests.effort import effort
from tests.unit.engine.conftest import Client, Recorder
from tests.unit.engine.lora.lora_files import ATTENTION, CONVOLUTIONS, TEXT, write_diffusers
from tests.unit.engine.reference import prepare

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")

ROWS = 8
MASK = bytes(64 * 32) + bytes([255]) * (64 * 32)


def task_fields(task: str, photo: bytes) -> dict[str, Any]:
    fields: dict[str, dict[str, Any]] = {
        "txt2img": {},
        "img2img": {"init_image": photo, "strength": 0.7},
        "inpaint": {"init_image": photo, "mask": MASK, "strength": 1.0},
    }
    return fields[task]


@pytest.fixture(scope="module")
def invariant(pipeline: Any) -> StableDiffusion:
    return StableDiffusion(pipeline, invariant=True)


LIMITS = BatchLimits(rows=3 * ROWS, block=ROWS)


def in_blocks(model: StableDiffusion) -> DiffusionModel:
    """As the service runs it on a CPU: two blocks at a time."""
    threads = ThreadTuner([ThreadPlan(torch.get_num_threads())])
    return CpuTuned(BatchInvariant(model, LIMITS, parallel=2), threads)


@pytest.fixture
def engine(invariant: StableDiffusion, recorder: Recorder) -> Iterator[Engine]:
    engine = Engine(
        WeightCache.preloaded({"embedded": in_blocks(invariant)}), limits=LIMITS, observer=recorder
    )
    yield engine
    engine.close()


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
@pytest.mark.parametrize("task", ["txt2img", "img2img", "inpaint"])
def test_every_position_gives_the_same_prediction(
    task: str, guidance_scale: float, invariant: StableDiffusion, photo: bytes
) -> None:
    dice = random.Random(1)

    def state(**changes: Any) -> DenoisingState:
        request = make_request(num_inference_steps=4, **changes)
        return prepare(invariant, [request])[0]

    with torch.inference_mode():
        neighbours = [
            state(seed=seed, scheduler=scheduler, **task_fields(other, photo), guidance_scale=1.0)
            for seed, (scheduler, other) in enumerate(
                product(["euler", "ddim"], ["txt2img", "img2img", "inpaint"])
            )
        ]
        fields = {**task_fields(task, photo), "guidance_scale": guidance_scale}
        alone = invariant.forward([state(**fields)], ROWS)[0]
        last = ROWS - state(**fields).rows
        for position in range(last + 1):
            before = dice.choices(neighbours, k=position)
            after = dice.choices(neighbours, k=dice.randint(0, last - position))
            batch = [*before, state(**fields), *after]
            prediction = invariant.forward(batch, ROWS)[position]
            assert torch.equal(prediction, alone), position


@pytest.mark.slow
def test_a_picture_is_the_same_file_alone_and_among_any_others(
    engine: Engine, recorder: Recorder, photo: bytes
) -> None:
    requests = [
        make_request(
            seed=seed,
            scheduler=scheduler,
            guidance_scale=[1.0, 3.0][seed % 2],
            num_inference_steps=3 + seed % 3,
            prompt=["a red apple on a blue background", "a cat", "a dog"][seed % 3],
            negative_prompt=["", "a cat"][seed // 2 % 2],
            **task_fields(task, photo),
        )
        for seed, (scheduler, task) in enumerate(
            product(list(SAMPLERS)[:: effort(2, 1)], ["txt2img", "img2img", "inpaint"])
        )
    ]
    alone = [Client(engine, request).image().data for request in requests]
    assert set(recorder.batches) == {1}

    assert together(engine, requests, random.Random(2)) == alone
    assert max(recorder.batches) > 3
    assert {rows % ROWS for rows in recorder.rows} == {0}
    assert max(recorder.rows) > ROWS, "passes of several blocks"


def test_a_picture_with_loras_is_the_same_file_alone_and_among_any_others(
    invariant: StableDiffusion, pipeline: Any, tmp_path: Path, recorder: Recorder, photo: bytes
) -> None:
    write_diffusers(tmp_path / "a", pipeline, seed=1, text=TEXT)
    write_diffusers(tmp_path / "b", pipeline, seed=2, unet=(*ATTENTION, *CONVOLUTIONS))
    adapters = {f"{name}:1": invariant.load_adapter(tmp_path / name) for name in "ab"}
    engine = Engine(
        WeightCache.preloaded({"embedded": in_blocks(invariant)}),
        loras=WeightCache.preloaded(adapters, kind=WeightKind.LORA),
        limits=LIMITS,
        observer=recorder,
    )
    requests = [
        make_request(
            seed=seed,
            guidance_scale=[1.0, 3.0][seed % 2],
            num_inference_steps=3 + seed % 3,
            loras=tuple(LoraUse(f"{name}:1", 0.7 - seed % 3) for name in names),
            **task_fields(["txt2img", "img2img", "inpaint"][seed % 3], photo),
        )
        for seed, names in enumerate(["a", "", "ab", "b", "ab", "ba", "", "a", "b", "a"])
    ]
    alone = [Client(engine, request).image().data for request in requests]
    assert together(engine, requests, random.Random(3)) == alone
    assert max(recorder.batches) > 3
    assert max(done.lora_sets for done in recorder.passes) > 2
    engine.close()


def together(engine: Engine, requests: list[GenerationRequest], dice: random.Random) -> list[bytes]:
    """The pictures of requests that come all at once, in any order."""
    order = list(range(len(requests)))
    dice.shuffle(order)
    clients = {index: Client(engine, requests[index]) for index in order}
    return [clients[index].image().data for index in range(len(requests))]
