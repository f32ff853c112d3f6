"""The picture depends on the request alone: as the stock pipeline makes it, whoever shares."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img import (
    StableDiffusionImg2ImgPipeline,
)

from engine.engine import Engine
from engine.families.stable_diffusion import StableDiffusion
from engine.request import GenerationRequest
from engine.samplers import SAMPLERS
from models.catalog import SCHEDULERS
from tests.conftest import make_request
from tests.unit.engine.conftest import Client, Gate, Recorder

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

CASES = [(scheduler, task) for scheduler in SAMPLERS for task in ("txt2img", "img2img")]


def request_for(scheduler: str, task: str, photo: bytes, **changes: Any) -> GenerationRequest:
    if task == "img2img":
        changes |= {"init_image": photo, "strength": 0.75}
    return make_request(scheduler=scheduler, negative_prompt="a cat", **changes)


def stock(pipeline: Any, request: GenerationRequest, output_type: str) -> Any:
    """What diffusers itself makes of the request, alone."""
    scheduler = SAMPLERS[request.scheduler].create(pipeline.scheduler.config)
    components = {**pipeline.components, "scheduler": scheduler}
    arguments: dict[str, Any] = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "num_inference_steps": request.num_inference_steps,
        "guidance_scale": request.guidance_scale,
        "generator": torch.Generator("cpu").manual_seed(request.seed),
        "output_type": output_type,
    }
    if request.init_image is None:
        pipe: Any = type(pipeline)(**components, requires_safety_checker=False)
        arguments |= {"width": request.width, "height": request.height}
    else:
        pipe = StableDiffusionImg2ImgPipeline(**components, requires_safety_checker=False)
        image = PIL.Image.frombytes("RGB", (request.width, request.height), request.init_image)
        arguments |= {"image": image, "strength": request.strength}
    pipe.set_progress_bar_config(disable=True)
    return pipe(**arguments).images


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(PIL.Image.open(BytesIO(data)).convert("RGB")).astype(int)


def test_every_catalog_scheduler_has_a_sampler() -> None:
    assert set(SAMPLERS) == set(SCHEDULERS)


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
@pytest.mark.parametrize(("scheduler", "task"), CASES)
def test_alone_equals_the_stock_pipeline(
    pipeline: Any,
    family: StableDiffusion,
    photo: bytes,
    scheduler: str,
    task: str,
    guidance_scale: float,
) -> None:
    request = request_for(scheduler, task, photo, guidance_scale=guidance_scale)
    expected = stock(pipeline, request, "latent")

    with torch.inference_mode():
        state = family.prepare(request)
        while not state.finished:
            state.advance(family.forward([state])[0])

    difference = (state.latents - expected).abs().max() / expected.abs().max()
    assert difference <= 1e-5


@pytest.mark.parametrize(("scheduler", "task"), CASES)
def test_strangers_in_the_batch_change_nothing(
    pipeline: Any, gate: Gate, recorder: Recorder, photo: bytes, scheduler: str, task: str
) -> None:
    engine = Engine({"embedded": gate}, observer=recorder)
    request = request_for(scheduler, task, photo)
    expected = np.asarray(stock(pipeline, request, "pil")[0]).astype(int)
    strangers = [
        make_request(scheduler="euler_a", num_inference_steps=3, guidance_scale=7.5, seed=1),
        make_request(scheduler="heun", num_inference_steps=5, guidance_scale=1.0, prompt="a cat"),
        make_request(scheduler="dpmpp_2m", num_inference_steps=12, seed=3, prompt="a green frog"),
        request_for("unipc", "img2img", photo, num_inference_steps=9, prompt="a house"),
        request_for("pndm", "txt2img", photo, num_inference_steps=6, seed=5),
    ]

    clients = [Client(engine, stranger) for stranger in strangers[:3]]
    target = Client(engine, request)
    clients += [Client(engine, stranger) for stranger in strangers[3:]]
    gate.open.set()

    assert np.abs(pixels(target.image().data) - expected).max() <= 1
    for client in clients:
        client.image()
    assert max(recorder.batches) == 6, "the jobs never shared a pass"
    engine.close()


def test_other_sizes_run_beside_each_other(
    pipeline: Any, engine: Engine, recorder: Recorder
) -> None:
    requests = [
        make_request(width=width, height=height, num_inference_steps=4)
        for width, height in [(64, 64), (96, 64), (64, 96), (104, 72)]
    ]
    clients = [Client(engine, request) for request in requests]
    for client, request in zip(clients, requests, strict=True):
        picture = pixels(client.image().data)
        expected = np.asarray(stock(pipeline, request, "pil")[0]).astype(int)
        assert picture.shape == (request.height, request.width, 3)
        assert np.abs(picture - expected).max() <= 1


def test_the_seed_decides_the_picture(engine: Engine) -> None:
    first, again, other = (
        Client(engine, make_request(seed=seed)).image().data for seed in (1, 1, 2)
    )
    assert pixels(first).tolist() == pixels(again).tolist()
    assert np.abs(pixels(first) - pixels(other)).max() > 50
