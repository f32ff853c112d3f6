"""What is particular about each network's training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import CLIPTokenizer

from training.embedded.loop import Share
from training.embedded.text import TextPlan, train_tokenizer
from training.embedded.vae import VAEPlan, new_vae, normalise_latents, random_composites
from training.embedded.world import load_world

WORLD = load_world()
CPU = torch.device("cpu")


def _share(count: int, *, offset: int = 0, total: int | None = None, seed: int = 0) -> Share:
    generator = torch.Generator().manual_seed(seed)
    return Share(0, offset, count, total or count, 0.0, generator)


@pytest.fixture(scope="module")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(WORLD, path, seed=0)
    return path


def test_normalising_the_latents_does_not_change_the_pictures() -> None:
    torch.manual_seed(0)
    vae = new_vae().eval()
    pixels = random_composites(WORLD, _share(16))
    with torch.no_grad():
        before = vae.decode(vae.encode(pixels).latent_dist.mean).sample
        deviation = vae.encode(pixels).latent_dist.std / vae.encode(pixels).latent_dist.mean.std(
            (0, 2, 3), keepdim=True
        )
        normalise_latents(vae, pixels)
        posterior = vae.encode(pixels).latent_dist
        after = vae.decode(posterior.mean).sample
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4)
    torch.testing.assert_close(posterior.mean.mean((0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-3)
    torch.testing.assert_close(posterior.mean.std((0, 2, 3)), torch.ones(4), rtol=0, atol=1e-3)
    torch.testing.assert_close(posterior.std, deviation, rtol=1e-3, atol=1e-6)


def test_refining_the_decoder_leaves_the_latents_as_they_are(tmp_path: Path) -> None:
    new_vae().save_pretrained(tmp_path)
    learner = VAEPlan(decoder_of=tmp_path).learner(CPU)
    learner.loss(_share(2)).backward()  # type: ignore[no-untyped-call]
    with_gradient = {
        name.split(".")[0]
        for name, parameter in learner.network.named_parameters()
        if parameter.grad is not None
    }
    assert with_gradient == {"decoder", "post_quant_conv"}


def test_the_tokenizer_reads_words_it_was_taught_whole_and_all_others_in_pieces(
    tokenizer_dir: Path,
) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(tokenizer_dir)
    assert tokenizer.tokenize("a Panda on a teal background") == [
        "a</w>",
        "panda</w>",
        "on</w>",
        "a</w>",
        "teal</w>",
        "background</w>",
    ]
    for text in ("zyzzyva", "naïve café", "日本語", "🦊", ""):
        ids = tokenizer(text, padding="max_length", truncation=True).input_ids
        assert len(ids) == 77
        assert ids[0] == tokenizer.bos_token_id
        assert ids[-1] == tokenizer.eos_token_id
        inner = [number for number in ids if number < tokenizer.bos_token_id]
        assert (len(inner) == 0) == (text == "")


def test_the_text_encoder_learns_from_captions(tokenizer_dir: Path) -> None:
    torch.manual_seed(0)
    learner = TextPlan(tokenizer_dir).learner(CPU)
    optimiser = torch.optim.AdamW(learner.network.parameters(), lr=2e-3)
    losses = []
    for _ in range(25):
        loss = learner.loss(_share(16, seed=3))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]
