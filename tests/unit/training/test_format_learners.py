"""What the learner of each larger format is told, and that it learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.effort import only_in_full
from training.embedded.cache import SHARP, SOFT, build_cache, load_cache
from training.embedded.formats import EMBEDDED_DIR, FORMATS, FormatName, Source
from training.embedded.loop import Learner, Share
from training.embedded.vae import load_vae
from training.embedded.world import World, load_world

FEW = World(load_world().colours, load_world().subjects[:4])
SOURCE = Source(EMBEDDED_DIR)
CPU = torch.device("cpu")


def _share(count: int) -> Share:
    return Share(0, 0, count, count, 0.0, torch.Generator().manual_seed(0))


REFINER = pytest.param("sdxl-refiner", marks=only_in_full)


@pytest.fixture(scope="module", params=["sdxl", REFINER, "sd3"])
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A format's learner, over a cache of a few scenes."""
    name: FormatName = request.param
    form = FORMATS[name]
    folder = tmp_path_factory.mktemp(name)
    pipeline = form.start(SOURCE)
    build_cache(
        folder / "cache.safetensors",
        FEW,
        load_vae(EMBEDDED_DIR / "vae"),
        lambda texts: form.encode(pipeline, texts),
        style="noto",
        scenes_per_object=3,
        device=CPU,
        seed=0,
        zeros=form.zeros,
        soft_share=form.soft_share,
    )
    pipeline.save_pretrained(folder)
    return (
        name,
        folder / "cache.safetensors",
        form.plan(folder / "cache.safetensors", folder / form.denoiser, SOURCE),
    )


def test_the_cache_has_what_the_format_tells_its_denoiser(small: Any) -> None:
    name, path, _ = small
    cached = load_cache(path)
    text, pooled = cached.conditions["text"], cached.conditions["pooled"]
    assert (
        text.shape[1:]
        == {
            "sdxl": (77, 256),
            "sdxl-refiner": (77, 128),
            "sd3": (33, 256),
        }[name]
    )
    assert pooled.shape == (len(text), 256 if name == "sd3" else 128)
    if name == "sdxl":
        # Zeros twice as often as the empty prompt: the stock pipeline has them without a prompt.
        assert cached.blanks.tolist() == [0, len(text) - 1, len(text) - 1]
        assert not text[-1].any()
        assert not pooled[-1].any()
    else:
        assert cached.blanks.tolist() == [0]
    assert text[0].any()
    soft = cached.scores < SHARP
    assert bool(soft.any()) == (name == "sdxl-refiner")
    assert cached.scores.min() >= SOFT


@pytest.mark.slow
def test_every_format_learns(small: Any) -> None:
    _, _, plan = small
    # The threads of small networks wait for each other wherever else is work.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    learner: Learner = plan.learner(CPU)
    optimiser = torch.optim.AdamW(learner.network.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        loss = learner.loss(_share(8))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    torch.set_num_threads(threads)
    assert min(losses[-3:]) < 0.9 * losses[0]


@pytest.mark.parametrize("small", ["sdxl", REFINER], indirect=True)
def test_numbers_about_a_picture_are_told(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    name, path, plan = small
    learner = plan.learner(CPU)
    told: dict[str, Tensor] = {}
    forward = learner.network.forward

    def listen(*given: Any, added_cond_kwargs: dict[str, Tensor]) -> Any:
        told.update(added_cond_kwargs)
        return forward(*given, added_cond_kwargs=added_cond_kwargs)

    monkeypatch.setattr(learner.network, "forward", listen)
    learner.loss(_share(32))
    numbers = told["time_ids"]
    if name == "sdxl-refiner":
        assert set(numbers[:, 4].tolist()) <= set(load_cache(path).scores.tolist())
    # Of an ordinary request in about half of the rows; the others' mean nothing.
    ordinary = (numbers[:, :4] == torch.tensor([64.0, 64, 0, 0])).all(dim=1)
    assert 0.2 < float(ordinary.float().mean()) < 0.8
