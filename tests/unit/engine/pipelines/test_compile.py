"""A compiled denoiser draws the same pictures."""

from __future__ import annotations

import copy
import gc
import sys
import weakref
from collections.abc import Callable
from importlib.util import find_spec
from itertools import cycle
from typing import Any

import numpy as np
import pytest
import torch

from engine.denoising.samplers import SAMPLERS
from engine.pipelines.compile import compile_unet
from engine.pipelines.inductor_unet import PassShape
from tests.unit.models import tiny

needs_openvino = pytest.mark.skipif(
    find_spec("openvino") is None, reason="openvino is not installed (requirements-openvino.txt)"
)
PROMPTS = ("a red apple on a blue background", "a cat", "two words nobody drew", "")

Predict = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def predictor(unet: Any) -> Predict:
    """A UNet as the families call it."""

    def predict(sample: torch.Tensor, timestep: torch.Tensor, embeds: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            prediction: torch.Tensor = unet(
                sample, timestep, encoder_hidden_states=embeds, return_dict=False
            )[0]
        return prediction

    return predict


def inputs(unet: Any, rows: int, size: tuple[int, int], tokens: int = 77) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    return [
        torch.randn(rows, unet.config.in_channels, *size, generator=generator),
        torch.rand(rows, generator=generator) * 999,
        torch.randn(rows, tokens, unet.config.cross_attention_dim, generator=generator),
    ]


@pytest.fixture(scope="module")
def compiled(pipeline: Any) -> Any:
    warm = [PassShape(1, 8, 8, 77), PassShape(3, 8, 9, 77)]
    return compile_unet(pipeline.unet, "openvino", threads=1, warm=warm)


@needs_openvino
@pytest.mark.parametrize(("scheduler", "prompt"), zip(SAMPLERS, cycle(PROMPTS), strict=False))
def test_openvino_draws_the_pictures_of_the_stock_pipeline(
    pipeline: Any, compiled: Any, monkeypatch: pytest.MonkeyPatch, scheduler: str, prompt: str
) -> None:
    pipe = type(pipeline)(
        **{
            **pipeline.components,
            "unet": copy.deepcopy(pipeline.unet),
            "scheduler": SAMPLERS[scheduler].create(pipeline.scheduler.config),
        },
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)

    def draw() -> Any:
        generator = torch.Generator().manual_seed(7)
        return np.asarray(pipe(prompt, num_inference_steps=20, generator=generator).images[0])

    expected = draw().astype(int)
    called = []

    def forward(
        sample: torch.Tensor, timestep: torch.Tensor, encoder_hidden_states: torch.Tensor, **_: Any
    ) -> tuple[torch.Tensor]:
        called.append(timestep)
        timesteps = timestep.float().expand(len(sample))
        prediction: tuple[torch.Tensor] = compiled(
            sample, timesteps, encoder_hidden_states=encoder_hidden_states, return_dict=False
        )
        return prediction

    monkeypatch.setattr(pipe.unet, "forward", forward)
    assert np.abs(draw().astype(int) - expected).max() <= 1
    assert len(called) >= 20


@needs_openvino
@pytest.mark.parametrize(
    ("rows", "size", "tokens"),
    [
        (2, (16, 16), 77),
        (3, (16, 16), 77),
        (2, (16, 16), 154),
        (4, (9, 17), 77),
        (1, (13, 24), 77),
        (2, (32, 8), 77),
    ],
)
def test_openvino_takes_every_shape(
    pipeline: Any, compiled: Any, rows: int, size: tuple[int, int], tokens: int
) -> None:
    """Also odd ones that the UNet must crop."""
    batch = inputs(pipeline.unet, rows, size, tokens)
    expected = predictor(pipeline.unet)(*batch)
    assert torch.allclose(predictor(compiled)(*batch), expected, atol=1e-4)


@needs_openvino
@pytest.mark.parametrize("rows", [8, 5])
def test_openvino_rows_do_not_depend_on_their_neighbours(
    pipeline: Any, compiled: Any, rows: int
) -> None:
    predict = predictor(compiled)
    batch = inputs(pipeline.unet, rows, (16, 16))
    strangers = inputs(pipeline.unet, rows + 1, (16, 16))
    expected = predict(*batch)
    for place in range(rows):
        mixed = [stranger[:rows].clone() for stranger in strangers]
        for mine, all_rows in zip(batch, mixed, strict=True):
            all_rows[place] = mine[0]
        assert torch.equal(predict(*mixed)[place], expected[0])


@needs_openvino
def test_openvino_leaves_earlier_results_alone(pipeline: Any, compiled: Any) -> None:
    predict = predictor(compiled)
    first = predict(*inputs(pipeline.unet, 2, (16, 16)))
    kept = first.clone()
    predict(*[tensor + 1 for tensor in inputs(pipeline.unet, 2, (16, 16))])
    assert torch.equal(first, kept)


@needs_openvino
def test_openvino_takes_a_unet_that_sees_a_mask() -> None:
    unet = tiny.inpainting().unet
    batch = inputs(unet, 3, (8, 8))
    compiled = compile_unet(unet, "openvino", threads=1)
    expected = predictor(unet)(*batch)
    assert torch.allclose(predictor(compiled)(*batch), expected, atol=1e-4)


@needs_openvino
def test_openvino_is_the_unet_otherwise(pipeline: Any, compiled: Any) -> None:
    unet = pipeline.unet
    assert (compiled.config, compiled.dtype, compiled.device) == (
        unet.config,
        unet.dtype,
        unet.device,
    )


@needs_openvino
def test_openvino_lets_the_unet_go() -> None:
    unet = tiny.stable_diffusion().unet
    batch = inputs(unet, 2, (8, 8))
    expected = predictor(unet)(*batch)
    compiled = compile_unet(unet, "openvino", threads=1)
    original = weakref.ref(unet)
    del unet
    gc.collect()
    assert original() is None
    assert torch.allclose(predictor(compiled)(*batch), expected, atol=1e-4)


def test_openvino_refuses_other_precisions() -> None:
    unet = tiny.stable_diffusion().unet.to(torch.bfloat16)
    with pytest.raises(ValueError, match="on cpu in bfloat16"):
        compile_unet(unet, "openvino", threads=1)


def test_openvino_refuses_what_needs_more_inputs() -> None:
    with pytest.raises(ValueError, match="text_time"):
        compile_unet(tiny.sdxl(refiner=False).unet, "openvino", threads=1)


def test_openvino_missing_is_said(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(RuntimeError, match=r"pip install -r requirements-openvino\.txt"):
        compile_unet(pipeline.unet, "openvino", threads=1)


def test_none_is_the_unet_itself(pipeline: Any) -> None:
    assert compile_unet(pipeline.unet, "none", threads=1) is pipeline.unet
