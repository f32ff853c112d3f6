"""Prompts in training are what the stock pipelines tell their denoisers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline

from tests.unit.models import tiny
from training.dreambooth.drawing import embedded
from training.dreambooth.families import FAMILIES
from training.dreambooth.text import Prompts, Text, read_prompts

CPU = torch.device("cpu")


def _stock(pipeline: Any, name: str, texts: list[str]) -> dict[str, torch.Tensor]:
    """What the stock pipeline tells its denoiser."""
    if name == "embedded":
        embeds, negative = pipeline.encode_prompt(texts, CPU, 1, True)
        return {"prompt_embeds": embeds, "negative_prompt_embeds": negative}
    more = {} if name == "sdxl" else {"prompt_2": None, "prompt_3": None}
    embeds, negative, pooled, negative_pooled = pipeline.encode_prompt(texts, **more)
    return {
        "prompt_embeds": embeds,
        "negative_prompt_embeds": negative,
        "pooled_prompt_embeds": pooled,
        "negative_pooled_prompt_embeds": negative_pooled,
    }


@pytest.mark.parametrize("name", ["embedded", "sdxl", "sd3", "sd3-no-t5"])
@torch.no_grad()
def test_prompts_are_read_as_the_stock_pipeline_reads_them(
    name: str, pipeline: DiffusionPipeline
) -> None:
    match name:
        case "embedded":
            stock, family, channels = pipeline, FAMILIES["sd1"], 128
        case "sdxl":
            stock, family, channels = tiny.sdxl(refiner=False), FAMILIES["sdxl"], 2 * tiny.WIDTH
        case _:
            stock, family = tiny.sd3(t5=name == "sd3"), FAMILIES["sd3"]
            channels = tiny.T5_WIDTH
    texts = ["a cat", "a dog on a red background", ""]
    encoders = [
        one for one in (*family.clip, family.t5) if one is not None and getattr(stock, one, None)
    ]
    pieces: dict[str, torch.Tensor] = {}
    for encoder in encoders:
        pieces |= read_prompts(stock, encoder, family, texts)
    zeros = name == "sdxl"
    said = embedded(Text(family, channels, {}), Prompts(texts, pieces), zeros=zeros, device=CPU)
    expected = _stock(stock, name, texts[:2])
    found = said(texts[:2])
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, msg=key)
