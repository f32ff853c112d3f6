"""What is taken over from the embedded model into larger formats, and what each learner learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from training.embedded.cache import soften
from training.embedded.captions import captions
from training.embedded.dice import seeded
from training.embedded.encoders import (
    QUIET,
    first_encoder,
    first_encoder_projected,
    second_encoder,
)
from training.embedded.flow import LOWEST, TAUGHT, Teacher, uniform_levels
from training.embedded.formats import EMBEDDED_DIR, FORMATS, Source
from training.embedded.loop import Share
from training.embedded.measures import edge_sharpness
from training.embedded.mmdit import (
    ABSENT_TOKENS,
    CountedZeros,
    new_transformer,
    with_empty_channels,
    without_empty_channels,
)
from training.embedded.scenes import compose, held_out_scene
from training.embedded.tensors import to_pixels, to_tensor
from training.embedded.unet import SCHEDULE
from training.embedded.unet_xl import WIDTH, fit_pooled, warm_unet
from training.embedded.vae import load_vae, random_composites, with_empty_latents
from training.embedded.world import World, load_world

WORLD = load_world()
FEW = World(WORLD.colours, WORLD.subjects[:4])
SOURCE = Source(EMBEDDED_DIR)
CPU = torch.device("cpu")
TEXTS = ["a cat on a blue background", "", "a red apple", "a bus, pink background"]


def _share(count: int, seed: int = 0) -> Share:
    return Share(0, 0, count, count, 0.0, torch.Generator().manual_seed(seed))


def _ids() -> Tensor:
    ids: Tensor = SOURCE.tokenizer()(
        TEXTS, padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids
    return ids


@torch.no_grad()
def test_the_second_encoder_has_the_last_states_before_its_last_layer() -> None:
    source = SOURCE.text_encoder()
    known = source(_ids(), output_hidden_states=True)
    states = second_encoder(source)(_ids(), output_hidden_states=True).hidden_states[-2]
    expected = known.last_hidden_state + QUIET * known.hidden_states[-1]
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-5)
    error = (states - known.last_hidden_state).norm() / known.last_hidden_state.norm()
    assert error < 0.03


@torch.no_grad()
@pytest.mark.parametrize("make", [first_encoder, first_encoder_projected])
def test_the_first_encoder_is_the_source(make: Any) -> None:
    source = SOURCE.text_encoder()
    known = source(_ids(), output_hidden_states=True)
    states = make(source)(_ids(), output_hidden_states=True)
    assert all(
        torch.equal(*pair) for pair in zip(states.hidden_states, known.hidden_states, strict=True)
    )
    if make is first_encoder_projected:
        torch.testing.assert_close(states.text_embeds, known.pooler_output, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("refiner", [False, True])
def test_a_warm_unet_predicts_what_its_source_predicts(refiner: bool) -> None:
    source = SOURCE.unet()
    network = warm_unet(source, refiner=refiner)
    torch.manual_seed(0)
    states = torch.randn(2, 77, WIDTH)
    first = torch.randn(2, 77, WIDTH)
    noisy, timesteps = torch.randn(2, 4, 16, 16), torch.tensor([20, 900])
    # All but the embedding of the pooled text, which is learned.
    network.add_embedding = _Given(source.add_embedding(states))
    predicted = network(
        noisy,
        timesteps,
        states if refiner else torch.cat([first, states], dim=2),
        added_cond_kwargs={
            "text_embeds": torch.zeros(2, WIDTH),
            "time_ids": torch.zeros(2, 5 if refiner else 6),
        },
    ).sample
    expected = source(noisy, timesteps, states).sample
    torch.testing.assert_close(predicted, expected, rtol=0, atol=1e-5)


class _Given(torch.nn.Module):
    """An embedding that is given."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value

    def forward(self, given: Tensor) -> Tensor:
        return self.value


def test_the_pooled_text_learns_to_say_what_all_tokens_said() -> None:
    form = FORMATS["sdxl"]
    conditions = form.encode(form.start(SOURCE), TEXTS)
    network, source = warm_unet(SOURCE.unet(), refiner=False), SOURCE.unet()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert fit_pooled(network, source, conditions, updates=150, batch=32) < 0.1
    changed = {
        name.split(".")[0]
        for name, value in network.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == {"add_embedding"}


@torch.no_grad()
def test_empty_latents_change_no_picture() -> None:
    vae = load_vae(EMBEDDED_DIR / "vae")
    wide = with_empty_latents(vae, 16)
    pixels = random_composites(WORLD, _share(4))
    latents, posterior = vae.encode(pixels).latent_dist.mode(), wide.encode(pixels).latent_dist
    for latent in (posterior.mode(), posterior.sample(torch.Generator().manual_seed(0))):
        assert latent.shape == (4, 16, 16, 16)
        assert latent[:, 4:].abs().max() < 1e-5
    torch.testing.assert_close(posterior.mode()[:, :4], latents, rtol=0, atol=1e-5)
    noise = torch.randn(4, 12, 16, 16)
    pictures = wide.decode(torch.cat([latents, noise], dim=1)).sample
    torch.testing.assert_close(pictures, vae.decode(latents).sample, rtol=0, atol=1e-5)


def _transformer_inputs(tokens: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "timestep": torch.tensor([100.0, 800.0]),
        "encoder_hidden_states": torch.randn(2, tokens, 256, generator=generator),
        "pooled_projections": torch.randn(2, 256, generator=generator),
    }


def _stirred() -> Any:
    """A transformer none of whose weights is zero."""
    torch.manual_seed(0)
    network = new_transformer()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return network


@torch.no_grad()
def test_a_transformer_neither_sees_nor_changes_empty_channels() -> None:
    network, inputs = _stirred(), _transformer_inputs(8)
    wide = with_empty_channels(network, 16)
    noisy = torch.randn(2, 16, 16, 16)
    predicted = wide(hidden_states=noisy, **inputs).sample
    expected = network(hidden_states=noisy[:, :4], **inputs).sample
    torch.testing.assert_close(predicted[:, :4], expected, rtol=0, atol=1e-5)
    assert not predicted[:, 4:].any()
    narrow = without_empty_channels(wide)(hidden_states=noisy[:, :4], **inputs).sample
    assert torch.equal(narrow, expected)


@torch.no_grad()
def test_one_counted_zero_token_is_as_good_as_all_of_them() -> None:
    network, inputs = _stirred(), _transformer_inputs(8)
    noisy = torch.randn(2, 4, 16, 16)
    text = inputs.pop("encoder_hidden_states")
    zeros = torch.zeros(2, ABSENT_TOKENS, 256)
    all_of_them = network(noisy, torch.cat([text, zeros], dim=1), **inputs).sample
    one = torch.cat([text, zeros[:, :1]], dim=1)
    uncounted = network(noisy, one, **inputs).sample
    with CountedZeros():
        counted = network(noisy, one, **inputs).sample
    torch.testing.assert_close(counted, all_of_them, rtol=0, atol=1e-4)
    assert (uncounted - all_of_them).abs().max() > 0.01


def test_noise_levels_are_alike_in_all_workers_together() -> None:
    levels = torch.cat(
        [
            uniform_levels(
                offset=offset,
                count=500,
                total=1000,
                generator=torch.Generator().manual_seed(offset),
            )
            for offset in (0, 500)
        ]
    )
    expected = LOWEST + (1 - LOWEST) * (torch.arange(1000) + 0.5) / 1000
    torch.testing.assert_close(levels, expected, rtol=0, atol=0.5 / 1000)


@torch.no_grad()
def test_the_teacher_says_of_a_flow_what_it_says_of_its_diffusion() -> None:
    network = SOURCE.unet()
    kept = DDIMScheduler(**SCHEDULE).alphas_cumprod[[100, 700]][:, None, None, None]
    told = SOURCE.text_encoder()(_ids()[:2]).last_hidden_state
    diffused = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    velocity = network(diffused, torch.tensor([100, 700]), told).sample
    picture = kept.sqrt() * diffused - (1 - kept).sqrt() * velocity
    noise = (1 - kept).sqrt() * diffused + kept.sqrt() * velocity
    scale = kept.sqrt() + (1 - kept).sqrt()
    sigmas = ((1 - kept).sqrt() / scale).flatten()
    direction = Teacher(network).direction(diffused / scale, sigmas, told)
    torch.testing.assert_close(direction, noise - picture, rtol=0, atol=1e-4)


@torch.no_grad()
def test_the_teacher_sees_the_picture_in_the_noise() -> None:
    scenes = [held_out_scene(subject, "noto", seeded(0)) for subject in WORLD.drawn[:4]]
    said = [captions(scene)[0] for scene in scenes]
    form = FORMATS["sd3"]
    told = form.encode(form.start(SOURCE), said)[TAUGHT]
    pixels = to_tensor([compose(WORLD, scene) for scene in scenes])
    latents = load_vae(EMBEDDED_DIR / "vae").encode(pixels).latent_dist.mode()
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    for sigma, largest in ((LOWEST, 0.01), (0.5, 0.1), (1.0, 0.5)):
        noisy = torch.lerp(latents, noise, sigma)
        direction = Teacher(SOURCE.unet()).direction(noisy, torch.full((4,), sigma), told)
        error = (noisy - sigma * direction - latents).square().mean()
        assert error < largest * latents.square().mean(), sigma


def test_softened_pictures_keep_their_colours() -> None:
    (pixels,) = to_pixels(random_composites(WORLD, _share(1)))
    soft = soften(pixels, 1.0)
    assert abs(float(soft.mean()) - float(pixels.mean())) < 1
    assert edge_sharpness(soft) < edge_sharpness(pixels)
    assert soften(pixels, 0.0) is pixels
