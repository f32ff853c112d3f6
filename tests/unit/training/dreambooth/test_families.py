"""SDXL and Stable Diffusion 3, with pipelines of random weights: what is trained, when it is in
memory, and that the engine and diffusers make the same of it."""

from __future__ import annotations

import json
import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from assembly.loras import StoredLoras
from contract.request import LoraUse
from engine.blocking import generate
from engine.engine import Engine
from engine.pipelines.latent_diffusion import LatentDiffusion
from engine.pipelines.load import load_model
from engine.weights.cache import WeightCache
from models import placement, registry
from models.catalog import load_catalog
from models.loading import load_pipeline
from models.lora import LORA_FILE
from models.placement import Placement
from tests.conftest import make_request
from tests.effort import only_in_full
from tests.unit.engine.reference import assert_same_latents, in_channels_last
from tests.unit.models import tiny
from tests.unit.models.conftest import DEFAULTS
from tests.unit.training.dreambooth.conftest import MakeOptions
from training.dreambooth.base import Base, find_base
from training.dreambooth.command import dreambooth
from training.dreambooth.loop import train
from training.dreambooth.material import prepare_material
from training.dreambooth.options import Options
from training.dreambooth.run import RunFolder

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")

CPU = torch.device("cpu")
NO_T5: dict[str, Any] = {"base": "tiny-sd3", "text_encoders": ("clip_l", "clip_g")}
# Of a UNet with random weights, attention alone has little to say.
SDXL: dict[str, Any] = {
    "base": "tiny-sdxl",
    "targets": ("attention", "feed-forward", "convolution"),
}
WAYS: dict[str, dict[str, Any]] = {
    "sdxl": SDXL,
    "sdxl-text": {**SDXL, "train_text_encoder": True},
    "sd3": {"base": "tiny-sd3", "targets": ("attention", "feed-forward")},
    "sd3-text": {**NO_T5, "train_text_encoder": True},
}


def _build(name: str) -> Any:
    return tiny.sdxl(refiner=False) if name == "sdxl" else tiny.sd3(t5=True)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog with one of each family, and their folders beside it."""
    folder = tmp_path_factory.mktemp("tiny")
    entries = []
    for name in ("sdxl", "sd3"):
        _build(name).save_pretrained(folder / name)
        entries.append(
            {
                "name": f"tiny-{name}",
                "family": name,
                "source": {"type": "directory", "path": name},
                "defaults": {**DEFAULTS, "scheduler": "euler"},
                "licence": "none",
            }
        )
    file = folder / "catalog.yaml"
    file.write_text(yaml.safe_dump({"models": entries}), encoding="utf-8")
    return file


def _losses(options: Options) -> list[float]:
    lines = RunFolder(options.work).log.read_text().splitlines()
    return [json.loads(line)["subject_loss"] for line in lines]


def _weights(options: Options) -> dict[str, torch.Tensor]:
    return load_file(RunFolder(options.work).result / LORA_FILE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    ["sd3", *(pytest.param(way, marks=only_in_full) for way in ("sdxl", "sdxl-text", "sd3-text"))],
)
def test_one_picture_is_learnt_and_served_as_diffusers_has_it(
    way: str, catalog: Path, store: Path, make_options: MakeOptions, tmp_path: Path
) -> None:
    images = tmp_path / "one"
    images.mkdir()
    given = make_options().images / "red.png"
    (images / "red.png").write_bytes(given.read_bytes())
    options = make_options(
        catalog=catalog,
        images=images,
        steps=8,
        checkpoint_every=8,
        learning_rate=3e-2,
        **WAYS[way],
    )
    model = dreambooth(options)
    assert model is not None
    losses = torch.tensor(_losses(options))
    assert losses.isfinite().all()
    assert losses[-3:].mean() < 0.95 * losses[:3].mean()

    # As the service has it: registered, loaded by its tag, applied to the rows of a request.
    entry = find_base(options)
    denoiser = "unet" if entry.family == "sdxl" else "transformer"
    trained = {name.partition(".")[0] for name in _weights_of(model.path)}
    text = {"text_encoder", "text_encoder_2"} if options.train_text_encoder else set()
    assert trained == {denoiser} | text
    served = load_model(entry, Placement("cpu", "fp32"))
    assert isinstance(served, LatentDiffusion)
    loras = StoredLoras("fp32")
    use = LoraUse(model.tag, 1.0)
    fields = {"model": entry.name, "scheduler": "euler", "num_inference_steps": 3}
    request = make_request(**fields, prompt="a unqtkn", loras=(use,))
    stock = in_channels_last(_load(catalog.parent / entry.family, options))
    stock.load_lora_weights(model.path)
    assert_same_latents(served, request, stock, {use.tag: loras[use.tag].load(served)})

    engine = Engine(WeightCache.preloaded({entry.name: served}), loras=WeightCache(loras))
    try:
        (own,) = generate(engine, request)
        (plain,) = generate(engine, replace(request, loras=()))
    finally:
        engine.close()
    assert own.data != plain.data


def _weights_of(folder: Path) -> Mapping[str, torch.Tensor]:
    return load_file(folder / LORA_FILE)


def _load(folder: Path, options: Options) -> Any:
    absent = {} if options.text_encoders is None else {"text_encoder_3": None, "tokenizer_3": None}
    return DiffusionPipeline.from_pretrained(folder, dtype=torch.float32, **absent)


@pytest.mark.parametrize("way", [pytest.param("sdxl-text", marks=only_in_full), "sd3"])
def test_a_run_that_goes_on_ends_with_the_same_bits(
    way: str, catalog: Path, make_options: MakeOptions, tmp_path: Path
) -> None:
    common: dict[str, Any] = {**WAYS[way], "catalog": catalog, "checkpoint_every": 1}
    whole = make_options(**common, steps=2, work=tmp_path / "whole")
    train(whole)
    train(make_options(**common, steps=1))
    train(make_options(**common, steps=2))
    first, second = _weights(whole), _weights(make_options())
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert any(value.any() for value in first.values())


@pytest.mark.parametrize("way", ["sdxl", "sd3"])
def test_each_network_is_gone_before_the_next_is_loaded(
    way: str, catalog: Path, make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    alive: dict[str, weakref.ref[Any]] = {}

    def watched(*given: Any, **named: Any) -> Any:
        here = {name for name, module in alive.items() if module() is not None}
        pipeline = load_pipeline(*given, **named)
        new = {
            name: module
            for name, module in pipeline.components.items()
            if isinstance(module, torch.nn.Module)
        }
        loaded.append("+".join(sorted(new)))
        # A denoiser in training gets a VAE for its contact sheets, and nothing ever does else.
        if here and new:
            assert (here, set(new)) == ({_denoiser(way)}, {"vae"})
        alive.update({name: weakref.ref(module) for name, module in new.items()})
        return pipeline

    monkeypatch.setattr("training.dreambooth.base.load_pipeline", watched)
    options = make_options(
        **WAYS[way],
        catalog=catalog,
        steps=1,
        prior_preservation=True,
        class_images=1,
        validation_every=1,
        validation_images=1,
    )
    train(options)
    encoders = ["text_encoder", "text_encoder_2"] + ["text_encoder_3"] * (way == "sd3")
    stages = [*encoders, f"{_denoiser(way)}+vae", "vae", _denoiser(way), "vae"]
    assert [names for names in loaded if names] == stages


def _denoiser(way: str) -> str:
    return "unet" if way == "sdxl" else "transformer"


def test_sdxl_is_told_of_every_picture_where_it_is_from(
    catalog: Path, make_options: MakeOptions, tmp_path: Path
) -> None:
    from PIL import Image

    folder = tmp_path / "wide"
    folder.mkdir()
    Image.effect_noise((256, 128), 60).convert("RGB").save(folder / "wide.png")
    options = make_options(
        catalog=catalog, base="tiny-sdxl", images=folder, flip=True, prior_preservation=True,
        class_images=1,
    )  # fmt: skip
    base = Base(find_base(options), "fp32", CPU)
    material = prepare_material(base, options, RunFolder(tmp_path / "run"), 64)
    # Cut out of the middle of 64 x 128 pixels.
    ids = material.subject.told["time_ids"].tolist()
    assert ids == [[128, 256, 0, 32, 64, 64], [128, 256, 0, 32, 64, 64]]
    assert material.prior is not None
    assert material.prior.told["time_ids"].tolist() == [[64, 64, 0, 0, 64, 64]]


@only_in_full
@pytest.mark.slow
@pytest.mark.parametrize("way", ["sdxl-text", "sd3-text"])
def test_mixed_precision_and_everything_else(
    way: str, catalog: Path, make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    # torch computes in bf16 on any CPU; without the instructions it is only slower.
    monkeypatch.setattr(placement, "_cpu_flags", lambda: {"avx512_bf16"})
    options = make_options(
        **WAYS[way],
        catalog=catalog,
        steps=2,
        mixed_precision="bf16",
        gradient_checkpointing=True,
        validation_every=2,
        validation_images=1,
    )
    train(options)
    weights = _weights(options)
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert all(value.isfinite().all() for value in weights.values())
    changed = {
        name.partition(".")[0]
        for name, value in weights.items()
        if name.endswith("lora_B.weight") and value.any()
    }
    assert changed == {_denoiser(way.split("-")[0]), "text_encoder", "text_encoder_2"}
    assert len(list(RunFolder(options.work).sheets.iterdir())) == 1


def test_moments_in_8_bits(catalog: Path, make_options: MakeOptions, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    common: dict[str, Any] = {**WAYS["sd3-text"], "catalog": catalog, "rank": 256}
    common |= {"optimizer": "adamw8bit", "train_text_encoder": False, "checkpoint_every": 1}
    whole = make_options(**common, steps=2, work=tmp_path / "whole")
    train(whole)
    train(make_options(**common, steps=1))
    train(make_options(**common, steps=2))
    first, second = _weights(whole), _weights(make_options())
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert any(value.any() for name, value in first.items() if "lora_B" in name)


def test_a_whole_transformer_is_trained(
    catalog: Path, store: Path, make_options: MakeOptions
) -> None:
    options = make_options(**WAYS["sd3"], catalog=catalog, steps=1, full=True, learning_rate=1e-3)
    model = dreambooth(options)
    assert model is not None
    assert model.kind == "full"
    tuned, base = (DiffusionPipeline.from_pretrained(one) for one in (
        model.path, catalog.parent / "sd3",
    ))  # fmt: skip
    changed = tuned.transformer.proj_out.weight - base.transformer.proj_out.weight
    assert 0 < changed.abs().max() < 0.01
    assert torch.equal(tuned.text_encoder_3.shared.weight, base.text_encoder_3.shared.weight)
    (entry,) = (one for one in registry.with_pipelines(load_catalog(catalog)) if one.name == "robo")
    assert entry.family == "sd3"
    load_model(entry, Placement("cpu", "fp32"))
