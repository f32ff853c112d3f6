"""What a loaded model does in batches, and what it makes of more than the stock pipelines take."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from contract.errors import ErrorCode, RequestError
from engine.pipelines.load import load_model
from engine.pipelines.prompts import MAX_CHUNKS
from engine.pipelines.stable_diffusion import StableDiffusion
from models.errors import LoadError
from models.footprint import weight_bytes
from models.placement import Placement
from tests.conftest import ROOT, make_request
from tests.unit.engine.pipelines.rows import Rows
from tests.unit.engine.reference import advance, decode, prepare
from tests.unit.models import tiny
from tests.unit.models.conftest import make_entry, stored_entry

MASK = (b"\xff" * 32 + bytes(32)) * 64
OTHER_MASK = bytes(64 * 64)

pytestmark = pytest.mark.usefixtures("inference_mode")


@pytest.fixture(scope="module")
def tiny_model() -> StableDiffusion:
    return StableDiffusion(tiny.stable_diffusion())


def test_preparing_takes_one_call_for_texts_and_one_for_pictures_of_a_size(photo: bytes) -> None:
    pipeline = tiny.stable_diffusion()
    model = StableDiffusion(pipeline)
    large = bytes(96 * 64 * 3)
    with Rows(pipeline.text_encoder) as texts, Rows(pipeline.vae.encoder) as pictures:
        states = prepare(
            model,
            [
                make_request(prompt="one", init_image=photo, strength=0.5, seed=1),
                make_request(prompt="one", init_image=photo, strength=0.5, seed=2),
                make_request(prompt="two", negative_prompt="three"),
                make_request(prompt="four", init_image=photo[::-1], strength=0.5),
                make_request(prompt="five", init_image=photo, strength=0.5, mask=MASK),
                make_request(prompt="six", init_image=large, strength=0.5, width=96),
            ],
        )
    assert texts == [len(["", "one", "two", "three", "four", "five", "six"])]
    assert pictures == [2, 1]
    assert len(states) == 6
    # Of one picture, each has noise of its own.
    assert not torch.allclose(states[0].latents, states[1].latents)


def test_masked_pictures_are_encoded_in_one_call(photo: bytes) -> None:
    pipeline = tiny.inpainting()
    model = StableDiffusion(pipeline)
    with Rows(pipeline.vae.encoder) as pictures:
        full, part, again, other = prepare(
            model,
            [
                make_request(init_image=photo, mask=MASK, strength=1.0),
                make_request(init_image=photo, mask=MASK, strength=0.5),
                make_request(init_image=photo, mask=MASK, strength=0.5),
                make_request(init_image=photo, mask=OTHER_MASK, strength=0.5),
            ],
        )
    assert pictures == [2, 1], "two with a mask; and the picture itself, which full strength hides"
    assert part.extra_channels is not None
    assert other.extra_channels is not None
    assert part.extra_channels.shape == (1, 5, *part.latents.shape[2:])
    assert part.extra_channels[:, 0].mean() == 0.5
    assert other.extra_channels[:, 0].max() == 0
    assert torch.equal(part.latents, again.latents)
    assert full.total == 2 * part.total


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_all_tasks_share_a_pass_padded_or_not(
    tiny_model: StableDiffusion, photo: bytes, guidance_scale: float
) -> None:
    states = prepare(
        tiny_model,
        [
            make_request(guidance_scale=guidance_scale),
            make_request(init_image=photo, strength=0.5, scheduler="euler"),
            make_request(init_image=photo, strength=0.5, mask=MASK, scheduler="unipc"),
        ],
    )
    assert len({state.shape_key for state in states}) == 1
    rows = sum(state.rows for state in states)
    exact, padded = tiny_model.forward(states, rows), tiny_model.forward(states, 16)
    for one, other, state in zip(exact, padded, states, strict=True):
        assert one.shape == other.shape == state.latents.shape
        assert torch.allclose(one, other, atol=1e-5)


def test_prompts_of_other_lengths_go_in_passes_of_their_own(tiny_model: StableDiffusion) -> None:
    short, long, longer = prepare(
        tiny_model,
        [
            make_request(prompt="a cat"),
            make_request(prompt="red " * 100),
            make_request(prompt="a cat", negative_prompt="red " * 100),
        ],
    )
    assert short.shape_key != long.shape_key == longer.shape_key
    assert long.conditioning.tensors["encoder_hidden_states"].shape[:2] == (2, 154)
    predictions = tiny_model.forward([long, longer], 4)
    assert all(torch.isfinite(prediction).all() for prediction in predictions)


def test_what_is_dropped_from_prompts_is_said(tiny_model: StableDiffusion) -> None:
    endless = "cat " * (MAX_CHUNKS * 75 + 1)
    guided, plain, ordinary = prepare(
        tiny_model,
        [
            make_request(prompt="a (cat:7)", negative_prompt=endless),
            make_request(prompt="a cat", negative_prompt=endless, guidance_scale=1.0),
            make_request(),
        ],
    )
    assert guided.warnings[0].startswith("negative_prompt is too long: 1 tokens, from 'cat' on")
    assert guided.warnings[1].startswith("prompt has weights outside 0 to 2")
    # Without guidance the negative prompt is not looked at.
    assert plain.warnings == ordinary.warnings == ()


def test_a_weight_changes_the_picture(model: StableDiffusion) -> None:
    plain, heavy = prepare(
        model, [make_request(prompt=f"a {word} apple") for word in ("red", "(red:1.6)")]
    )
    advance(model, plain)
    advance(model, heavy)
    assert (plain.latents - heavy.latents).abs().max() > 0.1


def test_a_unet_that_sees_the_mask_does_nothing_else(photo: bytes) -> None:
    model = StableDiffusion(tiny.inpainting())
    for request in (make_request(), make_request(init_image=photo, strength=0.5)):
        with pytest.raises(RequestError, match="can only inpaint") as caught:
            prepare(model, [request])
        assert caught.value.code == ErrorCode.INVALID_REQUEST
        assert caught.value.field == "mask"
    assert model.tasks == {"inpaint"}


def test_other_unets_are_refused() -> None:
    pipeline = tiny.stable_diffusion()
    pipeline.unet = type(pipeline.unet).from_config(pipeline.unet.config, in_channels=8)
    with pytest.raises(ValueError, match="denoisers of 8 input channels over latents of 4"):
        StableDiffusion(pipeline)


def test_latents_of_other_depths(photo: bytes) -> None:
    pipeline = tiny.stable_diffusion()
    pipeline.vae = tiny._vae(3)
    pipeline.unet = type(pipeline.unet).from_config(
        pipeline.unet.config, in_channels=3, out_channels=3
    )
    model = StableDiffusion(pipeline)
    states = prepare(
        model,
        [
            make_request(num_inference_steps=2),
            make_request(num_inference_steps=2, init_image=photo, strength=1.0, mask=MASK),
        ],
    )
    for state in states:
        advance(model, state)
    assert [picture.size for picture in decode(model, states)] == [(64, 64)] * 2


def test_tasks_that_the_denoiser_cannot_do_are_refused_at_loading(tmp_path: Path) -> None:
    tiny.inpainting().save_pretrained(tmp_path)
    source = {"type": "directory", "path": str(tmp_path)}
    cpu = Placement("cpu", "fp32")
    with pytest.raises(LoadError, match=r"cannot do txt2img, img2img: set its tasks to \[inpaint"):
        load_model(make_entry(source=source), cpu)
    model = load_model(make_entry(source=source, tasks=["inpaint"]), cpu)
    assert isinstance(model, StableDiffusion)
    assert model.tasks == {"inpaint"}


def test_an_unusable_denoiser_is_refused_at_loading(tmp_path: Path) -> None:
    folder = tmp_path / "pix2pix"
    pipeline = tiny.stable_diffusion()
    pipeline.unet = type(pipeline.unet).from_config(pipeline.unet.config, in_channels=8)
    pipeline.save_pretrained(folder)
    entry = make_entry(source={"type": "directory", "path": str(folder)})
    with pytest.raises(LoadError, match="tiny cannot be served: denoisers of 8 input channels"):
        load_model(entry, Placement("cpu", "fp32"))
    shutil.rmtree(folder)


def test_the_compiler_makes_what_is_called(photo: bytes) -> None:
    pipeline = tiny.stable_diffusion()
    unet = pipeline.unet
    calls = []

    class Compiled:
        config, device, dtype = unet.config, unet.device, unet.dtype

        def __call__(self, *, sample: torch.Tensor, **inputs: Any) -> Any:
            calls.append(len(sample))
            return unet(sample, **inputs)

    model = StableDiffusion(pipeline, compiler=lambda _: Compiled())
    states = prepare(model, [make_request()])
    model.forward(states, 4)
    assert calls == [4]


def test_memory_is_that_of_the_weights(pipeline: Any) -> None:
    modules = [each for each in pipeline.components.values() if isinstance(each, torch.nn.Module)]
    memory = sum(weight.nbytes for module in modules for weight in module.parameters())
    assert memory == weight_bytes(ROOT / "models" / "embedded", "fp32")


@pytest.mark.parametrize(
    ("family", "made"),
    [
        ("sd1", tiny.stable_diffusion),
        ("sdxl", partial(tiny.sdxl, refiner=False)),
        ("sd3", tiny.sd3),
    ],
    ids=["sd1", "sdxl", "sd3"],
)
def test_a_denoiser_that_another_has_replaced_is_let_go(
    tmp_path: Path, family: str, made: Callable[[], Any]
) -> None:
    made().save_pretrained(tmp_path)
    entry = stored_entry(tmp_path, family=family)
    originals = []

    def compiler(unet: Any) -> Any:
        originals.append(weakref.ref(unet))
        return SimpleNamespace(config=unet.config, dtype=unet.dtype, device=unet.device)

    model = load_model(entry, Placement("cpu", "fp32"), compiler=compiler)
    assert model is not None
    assert [original() for original in originals] == [None], "there are still two denoisers"
