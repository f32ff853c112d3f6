"""A compiled denoiser draws the same pictures."""

from __future__ import annotations

import copy
import gc
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch

from engine.denoising.samplers import SAMPLERS
from engine.pipelines.compile import compile_denoiser
from engine.pipelines.joint_attention import RepeatedLastToken
from engine.pipelines.load import load_model
from engine.pipelines.pass_shape import PassShape
from engine.pipelines.stable_diffusion_3 import StableDiffusion3
from models.architectures import Family
from models.placement import Placement
from tests.conftest import ROOT, make_request
from tests.effort import only_in_full
from tests.unit.engine.pipelines.passes import predict, random_inputs, tensors
from tests.unit.engine.reference import advance, decode, prepare, request_for
from tests.unit.models import tiny
from tests.unit.models.conftest import stored_entry

needs_openvino = pytest.mark.skipif(
    find_spec("openvino") is None, reason="openvino is not installed (requirements-openvino.txt)"
)
DENOISERS: dict[str, Callable[[], Any]] = {
    "sd1": lambda: tiny.stable_diffusion().unet,
    "sd1-inpainting": lambda: tiny.inpainting().unet,
    "sdxl": lambda: tiny.sdxl(refiner=False).unet,
    "refiner": lambda: tiny.sdxl(refiner=True).unet,
    "sdxl-inpainting": lambda: tiny.sdxl_inpainting().unet,
    "sd3": lambda: tiny.sd3().transformer,
    "sd3-inpainting": lambda: tiny.sd3(channels=33).transformer,
    "sd3.5": lambda: tiny.sd3(newer=True).transformer,
    "sd3-repeated-token": lambda: repeated(tiny.sd3().transformer),
}
SHAPES = [(2, (8, 8), 77), (1, (16, 8), 154), (3, (6, 14), 78), (5, (16, 16), 231)]
PROMPTS = ("a red apple on a blue background", "a cat", "two words nobody drew", "")

CPU = Placement("cpu", "fp32")


def repeated(transformer: Any) -> Any:
    """Without T5, on a CPU, one token stands for many."""
    transformer.set_attn_processor(RepeatedLastToken(77))
    return transformer


def inputs(denoiser: Any, rows: int, size: tuple[int, int], tokens: int = 77) -> dict[str, Any]:
    return random_inputs(denoiser, PassShape(rows, *size, tokens))


@pytest.fixture(scope="module")
def compiled(pipeline: Any) -> Any:
    warm = [PassShape(1, 8, 8, 77), PassShape(3, 8, 9, 77)]
    return compile_denoiser(pipeline.unet, "openvino", threads=1, warm=warm)


@needs_openvino
@pytest.mark.parametrize(("scheduler", "prompt"), list(zip(SAMPLERS, cycle(PROMPTS), strict=False)))
def test_openvino_draws_the_pictures_of_the_stock_pipeline(
    pipeline: Any, compiled: Any, scheduler: str, prompt: str
) -> None:
    pipe = type(pipeline)(
        **{
            **pipeline.components,
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
            sample=sample,
            timestep=timesteps,
            encoder_hidden_states=encoder_hidden_states,
            return_dict=False,
        )
        return prediction

    with patch.object(pipe.unet, "forward", forward):
        drawn = draw().astype(int)
    assert np.abs(drawn - expected).max() <= 1
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
    expected = predict(pipeline.unet, batch)
    assert torch.allclose(predict(compiled, batch), expected, atol=1e-4)


@needs_openvino
@pytest.mark.parametrize("rows", [8, 5])
def test_openvino_rows_do_not_depend_on_their_neighbours(
    pipeline: Any, compiled: Any, rows: int
) -> None:
    batch = inputs(pipeline.unet, rows, (16, 16))
    strangers = inputs(pipeline.unet, rows + 1, (16, 16))
    expected = predict(compiled, batch)
    for place in range(rows):
        mixed = {name: stranger[:rows].clone() for name, stranger in strangers.items()}
        for name, all_rows in mixed.items():
            all_rows[place] = batch[name][0]
        assert torch.equal(predict(compiled, mixed)[place], expected[0])


@needs_openvino
def test_openvino_leaves_earlier_results_alone(pipeline: Any, compiled: Any) -> None:
    batch = inputs(pipeline.unet, 2, (16, 16))
    first = predict(compiled, batch)
    kept = first.clone()
    assert not torch.equal(predict(compiled, {**batch, "sample": batch["sample"] + 1}), kept)
    assert torch.equal(first, kept)


@needs_openvino
def test_openvino_is_the_unet_otherwise(pipeline: Any, compiled: Any) -> None:
    unet = pipeline.unet
    assert (compiled.config, compiled.dtype, compiled.device) == (
        unet.config,
        unet.dtype,
        unet.device,
    )


@needs_openvino
@pytest.mark.parametrize("family", ["sd1", "sd3"])
def test_openvino_lets_the_denoiser_go(family: str) -> None:
    denoiser = DENOISERS[family]()
    batch = inputs(denoiser, 2, (8, 8))
    expected = predict(denoiser, batch)
    compiled = compile_denoiser(denoiser, "openvino", threads=1)
    original = weakref.ref(denoiser)
    del denoiser
    gc.collect()
    assert original() is None
    assert torch.allclose(predict(compiled, batch), expected, atol=1e-4)


# Of two models the older goes, then the other one in another thread.
A_SIGNAL_AFTER_EVICTIONS = """
import os, signal, threading
from engine.pipelines.compile import compile_denoiser
from tests.unit.models import tiny

received = []
signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
models = [compile_denoiser(tiny.stable_diffusion().unet, "openvino", threads=1) for _ in range(2)]
del models[0]
evicting = threading.Thread(target=models.clear)
evicting.start()
evicting.join()
os.kill(os.getpid(), signal.SIGTERM)
print("received", *received)
"""


@needs_openvino
@pytest.mark.slow
def test_openvino_models_that_go_take_no_stack_of_the_signals_with_them() -> None:
    """The process could not finish its work when it is told to stop: it would be gone."""
    script = [sys.executable, "-c", A_SIGNAL_AFTER_EVICTIONS]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"received {signal.SIGTERM.value}\n"), done.stderr


@needs_openvino
@pytest.mark.parametrize("family", DENOISERS)
def test_openvino_takes_every_denoiser_in_every_shape(family: str) -> None:
    denoiser = DENOISERS[family]()
    warm = [PassShape(2, 8, 8, 77)]
    compiled = compile_denoiser(denoiser, "openvino", threads=1, warm=warm)
    for rows, size, tokens in SHAPES:
        batch = inputs(denoiser, rows, size, tokens)
        expected = predict(denoiser, batch)
        assert torch.allclose(predict(compiled, batch), expected, atol=1e-4)


@needs_openvino
@pytest.mark.parametrize("family", ["sdxl", "sd3", "sd3.5"])
def test_openvino_rows_of_a_family_do_not_depend_on_their_neighbours(family: str) -> None:
    """Nor on the layers that these leave out."""
    denoiser = DENOISERS[family]()
    compiled = compile_denoiser(denoiser, "openvino", threads=1)
    rows = 5
    batch, strangers = inputs(denoiser, rows, (8, 8)), inputs(denoiser, rows + 1, (8, 8))
    expected = predict(compiled, batch)
    for place in range(rows):
        mixed = copy.deepcopy(strangers)
        for mine, all_rows in zip(tensors(batch), tensors(mixed), strict=True):
            all_rows[place] = mine[0]
        skipped = {"skipped": {1: [(place + 1) % rows]}} if family != "sdxl" else {}
        assert torch.equal(predict(compiled, {**mixed, **skipped})[place], expected[0])


@needs_openvino
def test_openvino_refuses_inputs_that_the_graph_has_not(compiled: Any) -> None:
    batch = inputs(compiled, 2, (8, 8))
    for wrong in ({"class_labels": torch.zeros(2)}, {"skipped": {1: [0]}}):
        with pytest.raises(TypeError, match="the graph takes sample, timestep"):
            predict(compiled, {**batch, **wrong})
    del batch["encoder_hidden_states"]
    with pytest.raises(TypeError, match="got timestep, sample"):
        predict(compiled, batch)


def test_openvino_refuses_unets_that_see_pictures() -> None:
    unet = tiny.stable_diffusion().unet
    unet.register_to_config(addition_embed_type="image")
    with pytest.raises(ValueError, match="'image'"):
        compile_denoiser(unet, "openvino", threads=1)


@needs_openvino
def test_openvino_does_not_mind_how_text_and_numbers_are_divided() -> None:
    """A base is told six numbers, a refiner five; that is in no config of a UNet."""
    for refiner in (False, True):
        unet = tiny.sdxl(refiner=refiner).unet
        compiled = compile_denoiser(unet, "openvino", threads=1)
        batch = inputs(unet, 3, (8, 8))
        numbers = 5 if refiner else 6
        width = unet.config.projection_class_embeddings_input_dim
        pooled = width - numbers * unet.config.addition_time_embed_dim
        batch["added_cond_kwargs"] = {
            "text_embeds": torch.randn(3, pooled),
            "time_ids": torch.rand(3, numbers) * 64,
        }
        expected = predict(unet, batch)
        assert torch.allclose(predict(compiled, batch), expected, atol=1e-4)


@needs_openvino
@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.usefixtures("inference_mode")
def test_openvino_rows_leave_out_their_own_layers(newer: bool) -> None:
    """Also in the layers' second attention, and in the last one, which has no text any more."""
    skips: list[dict[str, Any]] = [
        {"skip_layers": layers, "skip_layer_start": 0, "skip_layer_end": 1.0}
        for layers in [(0,), (1, 2), (3,)]
    ]
    requests = [
        make_request(scheduler="euler", num_inference_steps=3, seed=seed, **each)
        for seed, each in enumerate([*skips, {}, {"guidance_scale": 1.0}])
    ]
    predictions = []
    for compiler in ("none", "openvino"):
        compiled = partial(compile_denoiser, compiler=compiler, threads=1)
        model = StableDiffusion3(tiny.sd3(newer=newer), compiler=compiled)
        states = prepare(model, requests)
        for state in states:
            advance(model, state, leave=1)
        rows = [state.rows for state in states]
        assert rows == [3, 3, 3, 2, 1]
        predictions.append(model.forward(states, sum(rows)))
    for mine, expected in zip(*predictions, strict=True):
        assert torch.allclose(mine, expected, atol=1e-4)


@needs_openvino
@pytest.mark.parametrize(
    ("family", "made"),
    [
        ("sdxl", partial(tiny.sdxl, refiner=False)),
        ("sd3", tiny.sd3),
        ("sd3", partial(tiny.sd3, t5=True, newer=True)),
    ],
    ids=["sdxl", "sd3", "sd3.5"],
)
@pytest.mark.parametrize(
    "task",
    ["txt2img", *(pytest.param(task, marks=only_in_full) for task in ("img2img", "inpaint"))],
)
@pytest.mark.usefixtures("inference_mode")
def test_openvino_draws_the_pictures_of_a_family(
    tmp_path: Path, photo: bytes, family: Family, made: Callable[[], Any], task: str
) -> None:
    made().save_pretrained(tmp_path)
    entry = stored_entry(tmp_path, family=family)
    request = request_for("euler", task, photo)
    pictures = []
    for compiler in ("none", "openvino"):
        compiled = partial(compile_denoiser, compiler=compiler, threads=1)
        model = load_model(entry, CPU, compiler=compiled)
        (state,) = prepare(model, [request])
        advance(model, state)
        pictures.append(np.asarray(decode(model, [state])[0]).astype(int))
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


def test_openvino_refuses_other_precisions() -> None:
    unet = tiny.stable_diffusion().unet.to(torch.bfloat16)
    with pytest.raises(ValueError, match="on cpu in bfloat16"):
        compile_denoiser(unet, "openvino", threads=1)


def test_openvino_missing_is_said(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(RuntimeError, match=r"pip install -r requirements-openvino\.txt"):
        compile_denoiser(pipeline.unet, "openvino", threads=1)


def test_none_is_the_unet_itself(pipeline: Any) -> None:
    assert compile_denoiser(pipeline.unet, "none", threads=1) is pipeline.unet
