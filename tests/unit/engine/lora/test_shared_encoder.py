"""Models that share a text encoder: a LoRA of one is none of the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from contract.request import LoraUse
from engine.engine import Engine
from engine.limits import BatchLimits
from engine.lora.adapter import Adapter
from engine.pipelines.latent_diffusion import LatentDiffusion
from engine.pipelines.stable_diffusion import StableDiffusion
from engine.weights.cache import WeightCache
from engine.weights.source import Source
from tests.conftest import make_request
from tests.unit.engine.conftest import Client, pixels
from tests.unit.engine.lora.lora_files import TEXT, write_diffusers
from tests.unit.engine.reference import prepare
from tests.unit.models import tiny

TAG = "style:1"


def pipelines(*, shared: bool) -> dict[str, Any]:
    """Of two models with the same text encoder and UNets of their own."""
    first, second = tiny.stable_diffusion(), tiny.stable_diffusion()
    if shared:
        second.text_encoder = first.text_encoder
    torch.manual_seed(1)
    for parameter in second.unet.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)
    return {"a": first, "b": second}


def loaded(found: dict[str, Any]) -> dict[str, LatentDiffusion]:
    # Texts one by one, as they would be rounded otherwise in another batch.
    return {name: StableDiffusion(each, invariant=True) for name, each in found.items()}


def lora(model: LatentDiffusion, folder: Path) -> Adapter:
    return model.load_adapter(write_diffusers(folder, tiny.stable_diffusion(), seed=1, text=TEXT))


def test_a_lora_of_one_model_leaves_the_other_as_it_is(tmp_path: Path) -> None:
    """Jobs of both are in progress at the same time, and prompts are encoded in turns."""
    models = loaded(pipelines(shared=True))
    adapter = lora(models["a"], tmp_path)

    def engine_of(models: dict[str, LatentDiffusion]) -> Engine:
        # A job a pass: passes of several would be rounded otherwise.
        return Engine(
            WeightCache.preloaded(models),
            loras=WeightCache({TAG: Source(lambda model: adapter)}),
            limits=BatchLimits(rows=2),
        )

    def run(engine: Engine, model: str, prompt: str, *uses: LoraUse) -> Client:
        request = make_request(model=model, prompt=prompt, loras=uses, num_inference_steps=4)
        return Client(engine, request)

    prompts = ["a cat", "the sea"]
    engine, alone = engine_of(models), engine_of(loaded(pipelines(shared=False)))
    try:
        clients = [
            (run(engine, "a", prompt, LoraUse(TAG, 1.0)), run(engine, "b", prompt))
            for prompt in prompts
        ]
        for prompt, (styled, other) in zip(prompts, clients, strict=True):
            assert pixels(other.image()) == pixels(run(alone, "b", prompt).image())
            assert pixels(styled.image()) != pixels(run(alone, "a", prompt).image())
    finally:
        engine.close()
        alone.close()


def test_no_hook_is_left_in_an_encoder(tmp_path: Path) -> None:
    """It may stay in memory when the model with the LoRA has gone."""
    pipeline = tiny.stable_diffusion()
    model = StableDiffusion(pipeline)
    adapter = lora(model, tmp_path)
    with torch.inference_mode():
        prepare(model, [make_request(loras=(LoraUse(TAG, 1.0),))], {TAG: adapter})
    assert not any(module._forward_hooks for module in pipeline.text_encoder.modules())
