"""SDXL's prompts, numbers and pictures, beyond what the stock pipeline is compared with as a
whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch

from contract.errors import RequestError
from engine.pipelines.load import load_model
from engine.pipelines.stable_diffusion_xl import StableDiffusionXL
from models.errors import LoadError
from models.placement import Placement
from tests.conftest import make_request
from tests.unit.engine.pipelines.rows import Rows
from tests.unit.engine.reference import (
    advance,
    assert_same_picture,
    decode,
    denoise,
    in_channels_last,
    prepare,
    stock,
)
from tests.unit.models import tiny
from tests.unit.models.conftest import make_entry

pytestmark = pytest.mark.usefixtures("inference_mode")

CPU = Placement("cpu", "fp32")


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return tiny.sdxl(refiner=False)


@pytest.fixture(scope="module")
def model(pipeline: Any) -> StableDiffusionXL:
    return StableDiffusionXL(pipeline)


def rows_of(model: StableDiffusionXL, **changes: Any) -> dict[str, torch.Tensor]:
    """The conditioning of a request, by name."""
    (state,) = prepare(model, [make_request(**changes)])
    return dict(state.conditioning.tensors)


def test_new_prompts_take_one_call_of_each_encoder(pipeline: Any) -> None:
    model = StableDiffusionXL(pipeline)
    with Rows(pipeline.text_encoder) as first, Rows(pipeline.text_encoder_2) as second:
        prepare(
            model,
            [
                make_request(prompt="one"),
                make_request(prompt="one", prompt_2="two", negative_prompt=""),
                make_request(prompt="three", negative_prompt="four", negative_prompt_2="five"),
            ],
        )
    assert first == [len(["", "one", "three", "four"])]
    assert second == [len(["", "one", "two", "three", "five"])]


def test_no_negative_prompt_is_another_than_an_empty_one(model: StableDiffusionXL) -> None:
    none, empty = rows_of(model), rows_of(model, negative_prompt="")
    for name in ("encoder_hidden_states", "text_embeds"):
        assert not none[name][0].any()
        assert empty[name][0].abs().max() > 0.1
        assert torch.equal(none[name][1], empty[name][1])
    refiner = StableDiffusionXL(tiny.sdxl(refiner=True))
    request = {"init_image": bytes(64 * 64 * 3), "strength": 0.5}
    none, empty = rows_of(refiner, **request), rows_of(refiner, negative_prompt="", **request)
    assert torch.equal(none["encoder_hidden_states"], empty["encoder_hidden_states"])


def test_a_long_prompt_is_cut_and_its_first_chunk_pooled(
    model: StableDiffusionXL, pipeline: Any
) -> None:
    """No chunk is longer than the encoders take, so the stock pipeline can make each of them."""
    chunk, rest = "a red apple, " * 18, "two green frogs on a blue background"
    embeds = rows_of(model, prompt=chunk + rest, negative_prompt="a cat")
    text = embeds["encoder_hidden_states"]
    first, _, pooled, _ = pipeline.encode_prompt(chunk, do_classifier_free_guidance=False)
    second = pipeline.encode_prompt(rest, do_classifier_free_guidance=False)[0]
    assert text.shape[1] == 2 * 77
    assert torch.allclose(text[1:], torch.cat([first, second], dim=1), atol=1e-5)
    assert torch.allclose(embeds["text_embeds"][1:], pooled, atol=1e-5)
    negative, _, pooled, _ = pipeline.encode_prompt("a cat", do_classifier_free_guidance=False)
    empty = pipeline.encode_prompt("", do_classifier_free_guidance=False)[0]
    assert torch.allclose(text[:1], torch.cat([negative, empty], dim=1), atol=1e-5)
    assert torch.allclose(embeds["text_embeds"][:1], pooled, atol=1e-5)


def test_the_second_prompt_may_be_the_longer_one(model: StableDiffusionXL) -> None:
    (state,) = prepare(model, [make_request(prompt="a cat", prompt_2="a red apple, " * 40)])
    text = state.conditioning.tensors["encoder_hidden_states"]
    alone = rows_of(model, prompt="a cat")["encoder_hidden_states"]
    assert text.shape == (2, 3 * 77, 64)
    assert torch.equal(text[1, :77, :32], alone[1, :, :32])


def test_weights_move_the_embeddings_and_not_the_pooled_text(model: StableDiffusionXL) -> None:
    plain, heavy = rows_of(model, prompt="a red cat"), rows_of(model, prompt="a (red:1.6) cat")
    assert torch.equal(plain["text_embeds"], heavy["text_embeds"])
    moved = (plain["encoder_hidden_states"][1] != heavy["encoder_hidden_states"][1]).any(dim=1)
    assert moved.sum() == 1


def test_warnings_name_the_field(model: StableDiffusionXL) -> None:
    """And each but once, though two encoders have seen the text."""
    requests = [
        make_request(prompt="a (cat:7)"),
        make_request(prompt="a cat", prompt_2="a (cat:7)"),
        make_request(negative_prompt="a", negative_prompt_2="a (cat:7)"),
    ]
    warnings = [state.warnings for state in prepare(model, requests)]
    assert [len(each) for each in warnings] == [1, 1, 1]
    fields = [each[0].split(" has weights")[0] for each in warnings]
    assert fields == ["prompt", "prompt_2", "negative_prompt_2"]


def test_the_numbers_are_height_before_width(model: StableDiffusionXL) -> None:
    numbers = rows_of(model, width=96, original_size=(300, 400), crop=(5, 6))["time_ids"]
    assert numbers.tolist() == [[300, 400, 5, 6, 64, 96]] * 2
    single = rows_of(model, guidance_scale=1.0, width=96)["time_ids"]
    assert single.tolist() == [[64, 96, 0, 0, 64, 96]]


def test_a_refiner_needs_a_picture() -> None:
    refiner = StableDiffusionXL(tiny.sdxl(refiner=True))
    assert refiner.tasks == {"img2img", "inpaint"}
    with pytest.raises(RequestError, match="init_image: embedded only goes on with a picture"):
        prepare(refiner, [make_request()])


def test_scaled_by_channel(photo: bytes) -> None:
    """Some VAEs have a mean and a standard deviation for each channel."""
    pipeline = tiny.sdxl(refiner=False)
    pipeline.vae.register_to_config(
        latents_mean=[-1.6, 1.2, 2.6, 0.3], latents_std=[8.4, 5.9, 6.2, 1.5]
    )
    request = make_request(init_image=photo, strength=0.6, num_inference_steps=4, scheduler="euler")
    expected = stock(in_channels_last(pipeline), request, "pil")[0]
    model = StableDiffusionXL(pipeline)
    (state,) = denoise(model, [request])
    assert_same_picture(model, state, expected)


def test_in_fp16_the_vae_stays_in_fp32(tmp_path: Path, photo: bytes) -> None:
    """So what has values beyond those of fp16 is a picture all the same."""
    pipeline = tiny.sdxl(refiner=False)
    # Overflows on the way, and not at the end.
    pipeline.vae.decoder.conv_in.weight.mul_(3e5)
    pipeline.vae.decoder.conv_in.bias.mul_(3e5)
    pipeline.save_pretrained(tmp_path)
    source = {"type": "directory", "path": str(tmp_path)}
    request = make_request(num_inference_steps=2, init_image=photo, strength=1.0, width=64)
    for force_upcast in (True, False):
        pipeline.vae.register_to_config(force_upcast=force_upcast)
        pipeline.vae.save_config(tmp_path / "vae")
        model = load_model(make_entry(source=source, family="sdxl"), Placement("cpu", "fp16"))
        (state,) = prepare(model, [request])
        advance(model, state)
        (picture,) = model.decode([state])
        assert isinstance(picture, PIL.Image.Image) is force_upcast


def test_previews(model: StableDiffusionXL) -> None:
    (state,) = prepare(model, [make_request(num_inference_steps=2)])
    advance(model, state, leave=1)
    assert model.preview(state).size == (32, 32)
    advance(model, state)
    assert decode(model, [state])[0].size == (64, 64)


def test_a_refiner_is_loaded(tmp_path: Path) -> None:
    tiny.sdxl(refiner=True).save_pretrained(tmp_path)
    source = {"type": "directory", "path": str(tmp_path)}
    entry: dict[str, Any] = {"source": source, "family": "sdxl"}
    model = load_model(make_entry(tasks=["img2img"], **entry), CPU)
    assert isinstance(model, StableDiffusionXL)


def test_an_inpainter_is_loaded(tmp_path: Path) -> None:
    tiny.sdxl_inpainting().save_pretrained(tmp_path)
    source = {"type": "directory", "path": str(tmp_path)}
    entry: dict[str, Any] = {"source": source, "family": "sdxl"}
    with pytest.raises(LoadError, match=r"cannot do txt2img, img2img: set its tasks to \[inpaint"):
        load_model(make_entry(**entry), CPU)
    model = load_model(make_entry(tasks=["inpaint"], **entry), CPU)
    assert isinstance(model, StableDiffusionXL)
    assert model.tasks == {"inpaint"}


def test_unets_that_are_told_other_things_are_refused(pipeline: Any) -> None:
    config = {**pipeline.unet.config, "projection_class_embeddings_input_dim": 4 * 8 + 32}
    other = type(pipeline.unet).from_config(config)
    with pytest.raises(ValueError, match="UNets that are told other things"):
        StableDiffusionXL(type(pipeline)(**{**pipeline.components, "unet": other}))
