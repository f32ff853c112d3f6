"""The command: what it refuses, and what it leaves in the model store."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from models.registry import content_hash, finetuned, get
from tests.unit.training.dreambooth.conftest import ROOT, MakeOptions, arguments
from training.__main__ import main
from training.dreambooth.run import RunFolder

EMBEDDED = ROOT / "models" / "embedded"


def _load(folder: Path) -> StableDiffusionPipeline:
    return StableDiffusionPipeline.from_pretrained(
        folder, local_files_only=True, dtype=torch.float32
    )


def _latents(pipeline: StableDiffusionPipeline) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    latents: torch.Tensor = pipeline(
        "a unqtkn", width=64, height=64, num_inference_steps=2, output_type="latent",
        generator=generator,
    ).images  # fmt: skip
    return latents


def test_a_lora_is_registered_and_loads_as_any_other(
    store: Path, make_options: MakeOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    options = make_options()
    line = [*arguments(options), "--learning-rate", "0.01", "--train-text-encoder"]
    main(line)
    (model,) = finetuned()
    assert f"{model.tag} is in the model store (lora" in capsys.readouterr().out
    assert (model.name, model.kind) == ("robo", "lora")
    provenance = model.provenance
    assert (provenance.base, provenance.base_revision) == ("embedded", content_hash(EMBEDDED))
    assert (provenance.subject_token, provenance.class_name) == ("unqtkn", "toy")
    assert (provenance.steps, provenance.data_hash) == (4, content_hash(options.images))
    assert provenance.licence == "Apache-2.0"

    pipeline = _load(EMBEDDED)
    before = _latents(pipeline)
    pipeline.load_lora_weights(model.path)
    after = _latents(pipeline)
    assert not torch.allclose(before, after, atol=1e-2)
    pipeline.unload_lora_weights()
    assert torch.equal(_latents(pipeline), before)

    # Nothing is left to do: the same model again, not another one.
    main(line)
    assert [one.tag for one in finetuned()] == [model.tag]


def test_a_whole_model_is_registered_and_loads(store: Path, make_options: MakeOptions) -> None:
    main([*arguments(make_options(steps=2)), "--full", "--learning-rate", "1e-3"])
    (model,) = finetuned()
    assert model.kind == "full"
    tuned, base = _load(get(model.tag).path), _load(EMBEDDED)
    changed = tuned.unet.conv_in.weight - base.unet.conv_in.weight
    assert 0 < changed.abs().max() < 0.01
    for name, value in base.text_encoder.state_dict().items():
        assert torch.equal(tuned.text_encoder.state_dict()[name], value)
    assert torch.isfinite(_latents(tuned)).all()


def test_restart_begins_anew(store: Path, make_options: MakeOptions) -> None:
    main(arguments(make_options(steps=2)))
    folder = RunFolder(make_options().work)
    stranger = folder.path / "notes.txt"
    stranger.write_text("not ours")
    main([*arguments(make_options(steps=1, rank=2)), "--restart"])
    assert len(folder.log.read_text().splitlines()) == 1
    assert stranger.read_text() == "not ours"
    assert len({one.tag for one in finetuned()}) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--base": "nothing"}, "There is no model 'nothing'; known models: embedded"),
        ({"--base": "sdxl-refiner"}, "only does img2img: take a model that does txt2img"),
        ({"--base": "sd-1.5-inpainting"}, "only does inpaint: take a model that does txt2img"),
        (
            {"--base": "sd3-medium", "--snr-gamma": "5"},
            "--snr-gamma: sd3-medium is of the family sd3, which predicts a flow",
        ),
        (
            {"--base": "sd3-medium", "--targets": "attention,convolution"},
            "--targets: sd3-medium is of the family sd3, whose denoiser has no layers of "
            "convolution; it has attention, feed-forward.",
        ),
        (
            {"--base": "sd3-medium", "--resolution": "72"},
            "--resolution: must be a multiple of 16 for sd3-medium, is 72",
        ),
        ({"--base": "sd3-medium", "--text-encoders": "clip_l,t5"}, "and lacks clip_g"),
        (
            {"--text-encoders": "clip_l,clip_g"},
            "--text-encoders: embedded is of the family sd1, which has no choice",
        ),
        ({"--output": "embedded"}, "The name 'embedded' is taken"),
        ({"--output": "Robo"}, "'Robo' is no name for a model"),
        ({"--images": "/nowhere"}, "the folder /nowhere does not exist"),
        ({"--resolution": "128"}, "has 64 x 64 pixels; it needs at least 128"),
        ({"--instance-prompt": "a robot"}, "does not have the word 'unqtkn' in it"),
        ({"--prior-preservation": "", "--class-prompt": "a {cat|dog"}, "--class-prompt 'a {cat|"),
        ({"--mixed-precision": "fp16"}, "--mixed-precision=fp16 needs a CUDA GPU"),
    ],
)
def test_what_cannot_work_is_refused_before_it_starts(
    store: Path,
    make_options: MakeOptions,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str],
    words: str,
) -> None:
    options = make_options()
    extra = [word for pair in changes.items() for word in pair if word]
    with pytest.raises(SystemExit) as stop:
        main([*arguments(options), *extra])
    assert stop.value.code == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert words in printed
    assert not options.work.exists()


def test_an_optimiser_that_is_not_installed_is_named(
    store: Path,
    make_options: MakeOptions,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As if there were none.
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    options = make_options()
    with pytest.raises(SystemExit):
        main([*arguments(options), "--optimizer", "adamw8bit"])
    assert "pip install --no-deps -r requirements-quantize.txt" in capsys.readouterr().err
    assert not options.work.exists()


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--rank", "0"], "argument --rank: must be 1 to 1024, is 0"),
        (["--steps", "many"], "argument --steps: invalid"),
        (["--token", "two words"], "argument --token: must be one word"),
        (["--text-encoders", "clip_l,bert"], "unknown bert: choose from clip_l, clip_g, t5"),
        (["--optimizer", "sgd"], "argument --optimizer: invalid choice: 'sgd'"),
        (["--targets", "attention,mlp"], "unknown mlp: choose from attention, feed-forward"),
        (["--resolution", "100"], "must be a multiple of 8 from 64 to 2048, is 100"),
        (["--learning-rate", "nan"], "must be a number above 0, is nan"),
        (["--class-name", " "], "argument --class-name: must not be empty"),
    ],
)
def test_values_out_of_range(
    make_options: MakeOptions,
    capsys: pytest.CaptureFixture[str],
    extra: list[str],
    words: str,
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*arguments(make_options()), *extra])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
