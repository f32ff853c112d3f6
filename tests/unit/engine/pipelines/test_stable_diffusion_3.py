"""Stable Diffusion 3's text, layers and sizes, beyond what the stock pipeline is compared with as a
whole."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contract.errors import ErrorCode, RequestError
from contract.request import GenerationRequest
from engine.pipelines import t5
from engine.pipelines.compile import compile_denoiser
from engine.pipelines.load import load_model
from engine.pipelines.stable_diffusion import StableDiffusion
from engine.pipelines.stable_diffusion_3 import StableDiffusion3
from engine.pipelines.t5 import T5Encoder
from models.catalog import ModelEntry
from models.errors import LoadError
from models.placement import Placement
from tests import conftest
from tests.unit.engine.conftest import in_two_parts
from tests.unit.engine.pipelines.rows import Rows
from tests.unit.engine.reference import advance, decode, prepare, request_for
from tests.unit.models import tiny
from tests.unit.models.conftest import stored_entry

CPU = Placement("cpu", "fp32")
pytestmark = pytest.mark.usefixtures("inference_mode")

LONG = "a red apple, " * 40


def make_request(**changes: Any) -> GenerationRequest:
    return conftest.make_request(**{"scheduler": "euler", **changes})


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return tiny.sd3(t5=True)


@pytest.fixture(scope="module")
def model(pipeline: Any) -> StableDiffusion3:
    return StableDiffusion3(pipeline)


def embeds(model: StableDiffusion3, prompt: str) -> torch.Tensor:
    """``[tokens, channels]`` of the prompt."""
    (state,) = prepare(model, [make_request(prompt=prompt)])
    return state.conditioning.tensors["encoder_hidden_states"][-1]


def test_new_prompts_take_one_call_of_each_encoder_and_known_ones_none(pipeline: Any) -> None:
    model = StableDiffusion3(pipeline)
    requests = [
        make_request(prompt="one"),
        make_request(prompt="two", prompt_3="three"),
        make_request(prompt="one", guidance_scale=1.0),
    ]
    with (
        Rows(pipeline.text_encoder) as first,
        Rows(pipeline.text_encoder_2) as second,
        Rows(pipeline.text_encoder_3) as third,
    ):
        prepare(model, requests)
        prepare(model, requests)
    assert [first, second, third] == [[3], [3], [3]]


def test_t5_forgets_the_texts_that_were_used_longest_ago(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = T5Encoder(pipeline.tokenizer_3, pipeline.text_encoder_3)
    (one,) = encoder.encode(["one"]).values()
    monkeypatch.setattr(t5, "CACHED_BYTES", 2 * one.embeds.nbytes)
    encoder.encode(["two"])
    assert encoder.encode(["one"])["one"] is one
    with Rows(pipeline.text_encoder_3) as calls:
        encoder.encode(["three"])
        assert encoder.encode(["one"])["one"] is one
        encoder.encode(["two"])
    assert calls == [1, 1]


def test_more_texts_than_t5_takes_at_once(pipeline: Any) -> None:
    encoder = T5Encoder(pipeline.tokenizer_3, pipeline.text_encoder_3)
    texts = [f"text {number}" for number in range(11)]
    with Rows(pipeline.text_encoder_3) as calls:
        prompts = encoder.encode(texts)
    assert calls == [8, 3]
    alone = T5Encoder(pipeline.tokenizer_3, pipeline.text_encoder_3, batch_invariant=True)
    for text, prompt in alone.encode(texts).items():
        assert torch.allclose(prompt.embeds, prompts[text].embeds, atol=1e-5)


def test_a_long_prompt_goes_on_behind_the_first_chunk_but_not_in_t5(
    model: StableDiffusion3,
) -> None:
    short, long = embeds(model, "a red apple"), embeds(model, LONG)
    assert short.shape[0] == 77 + 256
    assert long.shape[0] % 77 == 256 % 77
    assert long.shape[0] > 2 * 77 + 256
    # The rest of CLIP's tokens is padding.
    assert long[:-256, 64:].abs().max() == 0
    (state,) = prepare(model, [make_request(prompt=LONG, negative_prompt="")])
    assert state.conditioning.tensors["encoder_hidden_states"].shape[:2] == (2, len(long))
    assert state.warnings == (
        "prompt is too long for T5, the third text encoder: it sees the first 256 tokens alone",
    )


def test_a_prompt_that_fits_has_no_warning(model: StableDiffusion3) -> None:
    (state,) = prepare(model, [make_request(prompt="a red apple")])
    assert state.warnings == ()


def test_weights_move_the_words_of_clip_and_are_nothing_to_t5(model: StableDiffusion3) -> None:
    plain, weighted = embeds(model, "a red apple"), embeds(model, "a (red:1.5) apple")
    assert torch.equal(plain[77:], weighted[77:])
    assert not torch.allclose(plain[:77], weighted[:77], atol=1e-3)
    without = embeds(model, "a (red:0) apple")
    assert torch.equal(without[77:], embeds(model, "a  apple")[77:])


def test_without_t5_zeros_take_its_place_and_the_answer_says_so() -> None:
    model = StableDiffusion3(tiny.sd3())
    assert embeds(model, "a red apple")[77:].abs().max() == 0
    (state,) = prepare(model, [make_request(prompt=LONG)])
    assert state.warnings == (
        "the model runs without T5, its third text encoder: it follows long prompts and writes "
        "words less well",
    )


def test_skipped_layers_are_a_third_row_in_their_steps_alone(
    model: StableDiffusion3, pipeline: Any
) -> None:
    request = make_request(
        num_inference_steps=10,
        scheduler="euler",
        skip_layers=(1,),
        skip_layer_start=0.1,
        skip_layer_end=0.4,
    )
    (state,) = prepare(model, [request])
    with Rows(pipeline.transformer.transformer_blocks[0].attn.to_q) as calls:
        advance(model, state)
    assert calls == [2, 2, 3, 3, 2, 2, 2, 2, 2, 2]


def test_skipped_layers_need_guidance_and_its_interval(
    model: StableDiffusion3, photo: bytes
) -> None:
    skips: dict[str, Any] = {"skip_layers": (1,), "skip_layer_end": 1.0, "num_inference_steps": 4}
    requests = [
        make_request(guidance_scale=1.0, **skips),
        make_request(guidance_start=0.5, **skips),
        request_for("euler", "img2img", photo, **skips),
    ]
    states = prepare(model, [*requests])
    assert [state.rows for state in states] == [1, 1, 2]
    advance(model, states[1], leave=1)
    assert states[1].rows == 3


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"width": 64, "height": 100}, "height", "96 for embedded, got 100"),
        ({"skip_layers": (1, 4)}, "skip_layers", "no layer 4 that could be skipped, only 0 to 3"),
    ],
)
def test_what_the_transformer_cannot_is_refused(
    model: StableDiffusion3, changes: dict[str, Any], field: str, value: str
) -> None:
    with pytest.raises(RequestError) as refused:
        prepare(model, [make_request(**changes)])
    assert refused.value.code is ErrorCode.OUT_OF_RANGE
    assert refused.value.field == field
    assert value in refused.value.message


def test_heun_is_refused_where_the_schedule_depends_on_the_size() -> None:
    model = StableDiffusion3(tiny.sd3(newer=True))
    with pytest.raises(RequestError, match="must be euler") as refused:
        prepare(model, [make_request(scheduler="heun")])
    assert refused.value.field == "scheduler"


def test_in_two_parts_each_row_skips_its_own_layers(model: StableDiffusion3) -> None:
    """Both at the same time, as on a CPU."""
    states = prepare(
        model,
        [
            make_request(seed=seed, skip_layers=layers, skip_layer_start=0, num_inference_steps=8)
            for seed, layers in enumerate([(0,), (), (1, 2), (3,)])
        ],
    )
    for state in states:
        advance(model, state, leave=7)
    rows = sum(state.rows for state in states)
    assert rows == 11
    together = model.forward(states, rows)
    parts = in_two_parts(model)
    divided = parts.forward(states, rows)
    for one, other in zip(together, divided, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_unet_has_no_layers_to_skip() -> None:
    with pytest.raises(RequestError, match=r"skip_layers: .* no layer 1 .*, nor any other"):
        prepare(StableDiffusion(tiny.stable_diffusion()), [make_request(skip_layers=(1,))])


def test_previews_are_of_the_picture_to_come(model: StableDiffusion3) -> None:
    (state,) = prepare(model, [make_request(num_inference_steps=4, scheduler="euler")])
    advance(model, state, leave=1)
    assert model.preview(state).size == (32, 32)


def stored(folder: Path, **changes: Any) -> ModelEntry:
    return stored_entry(folder, family="sd3", **changes)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_in_half_precision_the_picture_is_about_the_same(tmp_path: Path, precision: str) -> None:
    """T5 is partly in fp32 then."""
    tiny.sd3(t5=True, newer=True).save_pretrained(tmp_path)
    request = make_request(num_inference_steps=3, skip_layers=(1,), skip_layer_end=1.0)
    pictures = []
    for each in (Placement("cpu", "fp32"), Placement("cpu", precision)):
        model = load_model(stored(tmp_path), each)
        (state,) = prepare(model, [request])
        advance(model, state)
        pictures.append(np.asarray(decode(model, [state])[0]).astype(int))
    assert np.abs(pictures[0] - pictures[1]).mean() < 3


def test_a_model_that_only_inpaints_says_so(tmp_path: Path) -> None:
    tiny.sd3(channels=33).save_pretrained(tmp_path)
    with pytest.raises(
        LoadError, match=r"cannot do txt2img, img2img: set its tasks to \[inpaint\]"
    ):
        load_model(stored(tmp_path), CPU)
    load_model(stored(tmp_path, tasks=["inpaint"]), CPU)


def test_inductor_takes_no_transformer(tmp_path: Path) -> None:
    tiny.sd3().save_pretrained(tmp_path)
    with pytest.raises(LoadError, match="inductor compiles UNets only"):
        load_model(
            stored(tmp_path),
            CPU,
            compiler=partial(compile_denoiser, compiler="inductor", threads=1),
        )
