"""Requests with LoRAs: as the stock pipeline makes them, whatever they are batched with."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

from contract.request import GenerationRequest, LoraUse
from engine.denoising.state import DenoisingState
from engine.lora.adapter import Adapter
from engine.pipelines.latent_diffusion import LatentDiffusion
from engine.pipelines.stable_diffusion import StableDiffusion
from engine.pipelines.stable_diffusion_xl import StableDiffusionXL
from models.lora import LORA_FILE
from tests.conftest import ROOT, make_request
from tests.effort import only_in_full
from tests.unit.engine.lora.lora_files import (
    ATTENTION,
    CONVOLUTIONS,
    FURTHER,
    TEXT,
    write_diffusers,
    write_kohya,
)
from tests.unit.engine.reference import (
    assert_same_latents,
    assert_same_picture,
    denoise,
    in_channels_last,
    prepare,
    request_for,
    stock,
)
from tests.unit.models import tiny

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")

SCALES = {"style:1": 0.8, "subject:1": -0.6, "kohya:1": 1.0}
USES = tuple(LoraUse(tag, scale) for tag, scale in SCALES.items())
WRITERS: dict[str, Callable[[Path, Any], Any]] = {
    "style:1": lambda folder, pipeline: write_diffusers(folder, pipeline, seed=1),
    "subject:1": lambda folder, pipeline: write_diffusers(
        folder, pipeline, seed=2, unet=(*ATTENTION, *CONVOLUTIONS, *FURTHER), text=TEXT, r=3
    ),
    "kohya:1": lambda folder, pipeline: write_kohya(
        folder, pipeline, seed=3, unet=(*ATTENTION, *CONVOLUTIONS), text=TEXT
    ),
}


def embedded() -> Any:
    return StableDiffusionPipeline.from_pretrained(
        ROOT / "models" / "embedded", local_files_only=True, dtype=torch.float32
    )


def sdxl() -> Any:
    return tiny.sdxl(refiner=False)


def loaded(pipeline: Any, **options: Any) -> LatentDiffusion:
    kind = StableDiffusionXL if hasattr(pipeline, "text_encoder_2") else StableDiffusion
    return kind(pipeline, **options)


class Bench:
    """A model with LoRAs, in the engine's form and in diffusers'."""

    def __init__(self, make: Callable[[], Any], folder: Path) -> None:
        self.make = make
        self.model = loaded(make())
        self.invariant = loaded(make(), invariant=True)
        self.stock = in_channels_last(make())
        self.adapters: dict[str, Adapter] = {}
        for tag, write in WRITERS.items():
            name = tag.partition(":")[0]
            write(folder / name, self.stock if not self.adapters else make())
            self.adapters[tag] = self.model.load_adapter(folder / name)
        for tag in WRITERS:
            name = tag.partition(":")[0]
            self.stock.load_lora_weights(folder / name, weight_name=LORA_FILE, adapter_name=name)

    def with_loras(self, request: GenerationRequest) -> Any:
        """The stock pipeline, set for a request."""
        if request.loras:
            self.stock.enable_lora()
            self.stock.set_adapters(
                [use.name for use in request.loras], [use.scale for use in request.loras]
            )
        else:
            self.stock.disable_lora()
        return self.stock


MAKERS = [
    pytest.param(embedded, id="embedded", marks=only_in_full),
    pytest.param(tiny.stable_diffusion, id="tiny"),
    pytest.param(sdxl, id="sdxl"),
]


@pytest.fixture(scope="module", params=MAKERS)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(request.param, tmp_path_factory.mktemp("loras"))


@pytest.mark.parametrize(
    ("loras", "task"),
    [
        (USES[:1], "txt2img"),
        (USES[1:2], "txt2img"),
        (USES[2:], "txt2img"),
        (USES, "txt2img"),
        (USES[:2], "img2img"),
        (USES[:2], "inpaint"),
    ],
    ids=["unet", "with-text", "kohya", "three", "img2img", "inpaint"],
)
def test_alone_equals_the_stock_pipeline(
    bench: Bench, photo: bytes, loras: tuple[LoraUse, ...], task: str
) -> None:
    request = request_for("dpmpp_2m", task, photo, loras=loras, num_inference_steps=3)
    assert_same_latents(bench.model, request, bench.with_loras(request), bench.adapters)


def neighbours(photo: bytes) -> list[GenerationRequest]:
    return [
        make_request(num_inference_steps=2, seed=1, loras=USES[:1]),
        make_request(num_inference_steps=3, guidance_scale=1.0, prompt="a cat"),
        request_for("unipc", "img2img", photo, num_inference_steps=4, loras=USES[1:2]),
        make_request(num_inference_steps=3, seed=2, loras=(LoraUse("style:1", -0.3),)),
        request_for("ddim", "inpaint", photo, num_inference_steps=4, loras=USES[::-1]),
    ]


@pytest.mark.parametrize("loras", [(), USES[:1], USES[:2]], ids=["none", "one", "two"])
def test_neighbours_change_nothing(bench: Bench, photo: bytes, loras: tuple[LoraUse, ...]) -> None:
    request = make_request(loras=loras, num_inference_steps=4)
    others = neighbours(photo)
    states = denoise(bench.model, [*others[:3], request, *others[3:]], bench.adapters)
    assert len({state.shape_key for state in states}) == 1
    assert_same_picture(bench.model, states[3], stock(bench.with_loras(request), request, "pil")[0])


@pytest.mark.parametrize("scheduler", ["lcm", "euler_trailing"])
def test_speed_loras_with_their_schedulers(bench: Bench, photo: bytes, scheduler: str) -> None:
    """As LCM's and Lightning's want it: few steps without guidance, in company of others."""
    request = make_request(
        scheduler=scheduler, num_inference_steps=4, guidance_scale=1.0, loras=USES[2:]
    )
    assert_same_latents(bench.model, request, bench.with_loras(request), bench.adapters)
    states = denoise(bench.model, [*neighbours(photo), request], bench.adapters)
    assert len({state.shape_key for state in states}) == 1
    expected = stock(bench.with_loras(request), request, "pil")[0]
    assert_same_picture(bench.model, states[-1], expected)


def prepared(model: LatentDiffusion, bench: Bench, **changes: Any) -> DenoisingState:
    (state,) = prepare(model, [make_request(num_inference_steps=4, **changes)], bench.adapters)
    return state


def test_rows_without_a_lora_are_the_same_to_the_last_bit(bench: Bench) -> None:
    with torch.inference_mode():
        plain = [prepared(bench.model, bench, seed=seed) for seed in range(3)]
        before = bench.model.forward(plain, 6)
        tuned = prepared(bench.model, bench, seed=1, loras=USES)
        after = bench.model.forward([plain[0], tuned, plain[2]], 6)
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[2], after[2])
    assert (before[1] - after[1]).abs().max() > 1e-2


@pytest.mark.parametrize("task", ["txt2img", pytest.param("img2img", marks=only_in_full)])
@pytest.mark.parametrize("loras", [(), USES[:1], USES], ids=["none", "one", "three"])
def test_invariant_to_the_last_bit(
    bench: Bench, photo: bytes, loras: tuple[LoraUse, ...], task: str
) -> None:
    model = bench.invariant
    fields: dict[str, Any] = {"loras": loras}
    if task == "img2img":
        fields |= {"init_image": photo, "strength": 0.75, "guidance_scale": 1.0}
    with torch.inference_mode():
        alone = model.forward([prepared(model, bench, **fields)], 8)[0]
        neighbours = [
            prepared(model, bench, seed=5, loras=USES[:1]),
            prepared(model, bench, seed=6, guidance_scale=1.0),
            prepared(model, bench, seed=7, guidance_scale=1.0, loras=USES[1:2]),
            prepared(model, bench, seed=8, loras=loras),
        ]
        for position in range(4):
            batch = [*neighbours[:position], prepared(model, bench, **fields)]
            batch += neighbours[position : 3 + (position == 3)]
            rows = sum(state.rows for state in batch)
            if rows <= 8:
                prediction = model.forward(batch, 8)[position]
                assert torch.equal(prediction, alone), position


def embeds(state: DenoisingState) -> torch.Tensor:
    return state.conditioning.tensors["encoder_hidden_states"]


def test_prompts_of_others_are_encoded_without_the_loras(bench: Bench) -> None:
    with torch.inference_mode():
        tuned, plain, unet_only, again = prepare(
            bench.model,
            [
                make_request(prompt="a dog", loras=USES[1:2]),
                make_request(prompt="a dog"),
                make_request(prompt="a dog", loras=USES[:1]),
                make_request(prompt="a dog", loras=(LoraUse("subject:1", 0.5),)),
            ],
            bench.adapters,
        )
        (expected,) = prepare(loaded(bench.make()), [make_request(prompt="a dog")])
    assert torch.equal(embeds(plain), embeds(unet_only))
    assert torch.allclose(embeds(plain), embeds(expected), atol=1e-5)
    assert (embeds(plain) - embeds(tuned)).abs().max() > 1e-2
    assert (embeds(again) - embeds(tuned)).abs().max() > 1e-2


def calls(model: LatentDiffusion, state: DenoisingState) -> int:
    """How many functions of Python a pass calls."""
    counts = Counter[str]()
    with torch.inference_mode():
        model.forward([state], state.rows)  # the first one of its kind prepares more
        sys.setprofile(lambda frame, event, argument: counts.update([event]))
        model.forward([state], state.rows)
        sys.setprofile(None)
    return counts["call"]


def test_a_pass_costs_more_only_while_jobs_want_loras(bench: Bench) -> None:
    fresh = loaded(bench.make())
    usual = calls(fresh, prepare(fresh, [make_request()])[0])
    tuned = prepared(bench.model, bench, loras=USES[:1])
    assert calls(bench.model, tuned) > usual
    del tuned
    assert calls(bench.model, prepared(bench.model, bench)) == usual
