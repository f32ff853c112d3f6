"""The recipe of the larger formats in miniature: what it writes loads and draws, everywhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from engine.pipelines.load import load_model
from models.catalog import ModelEntry
from models.placement import Placement
from tests.effort import only_in_full
from tests.unit.engine.reference import (
    assert_same_picture,
    denoise,
    in_channels_last,
    request_for,
    stock,
)
from tests.unit.models.conftest import make_entry
from training.__main__ import main
from training.embedded.derived import DERIVED_STAGES, DerivedRecipe
from training.embedded.evaluate import evaluate, size_in_megabytes
from training.embedded.flow import FlowLearner
from training.embedded.formats import EMBEDDED_DIR, FORMATS, FormatName
from training.embedded.judge import JUDGE_DIR
from training.embedded.loop import Share
from training.embedded.pictures import GUIDANCE, STEPS, Request, draw, load_pipeline
from training.embedded.report import write_report
from training.embedded.unet_xl import XLLearner
from training.embedded.world import World, load_world

pytestmark = [only_in_full, pytest.mark.slow, pytest.mark.filterwarnings("ignore::FutureWarning")]

CPU = torch.device("cpu")
WORLD = load_world()
FEW = World(WORLD.colours, WORLD.subjects[:2] + WORLD.subjects[-1:])
CLASSES: dict[FormatName, str] = {
    "sdxl": "StableDiffusionXLPipeline",
    "sdxl-refiner": "StableDiffusionXLImg2ImgPipeline",
    "sd3": "StableDiffusion3Pipeline",
}


class _Power(Exception):
    """The lights went out."""


def _miniature(out: Path, form: FormatName) -> DerivedRecipe:
    return DerivedRecipe(
        out=out,
        format=form,
        source=EMBEDDED_DIR,
        samples=48,
        scenes_per_object=1,
        fit_updates=100,
        batch=16,
        checkpoint_seconds=0.0,
    )


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> dict[FormatName, DerivedRecipe]:
    made = {form: _miniature(tmp_path_factory.mktemp(form), form) for form in FORMATS}
    for recipe in made.values():
        recipe.run()
    return made


def _entry(recipe: DerivedRecipe) -> ModelEntry:
    return make_entry(
        name="derived",
        family="sd3" if recipe.format == "sd3" else "sdxl",
        source={"type": "directory", "path": str(recipe.model)},
        tasks=["img2img"] if recipe.format == "sdxl-refiner" else ["txt2img", "img2img", "inpaint"],
        defaults={"width": 64, "height": 64, "scheduler": "euler"}
        | {"num_inference_steps": 20, "guidance_scale": 3.0, "strength": 0.8},
    )


@pytest.mark.parametrize("form", FORMATS)
def test_the_result_is_half_precision_safetensors_of_the_stock_class(
    recipes: dict[FormatName, DerivedRecipe], form: FormatName
) -> None:
    model = recipes[form].model
    index = json.loads((model / "model_index.json").read_text(encoding="utf-8"))
    assert index["_class_name"] == CLASSES[form]
    weights = list(model.rglob("*.safetensors"))
    expected = {"vae", "text_encoder", "text_encoder_2", FORMATS[form].denoiser}
    assert {path.parent.name for path in weights} == expected - (
        {"text_encoder"} if form == "sdxl-refiner" else set()
    )
    for path in weights:
        types = {value.dtype for value in load_file(path).values() if value.is_floating_point()}
        assert types == {torch.float16}
    assert not [path for path in model.rglob("*") if path.suffix in {".bin", ".pt", ".pkl"}]
    assert size_in_megabytes(model) <= 14
    for path in model.rglob("*.json"):
        assert "_name_or_path" not in path.read_text(encoding="utf-8")


CASES = [
    ("sdxl", "txt2img", {"negative_prompt": None}),
    ("sdxl", "inpaint", {"prompt_2": "a dog"}),
    ("sdxl-refiner", "img2img", {"aesthetic_score": 7.0}),
    ("sd3", "txt2img", {"negative_prompt": ""}),
    ("sd3", "img2img", {}),
    ("sd3", "inpaint", {}),
]


@pytest.mark.parametrize(("form", "task", "fields"), CASES)
def test_the_engine_makes_the_picture_of_the_stock_pipeline(
    recipes: dict[FormatName, DerivedRecipe],
    photo: bytes,
    form: FormatName,
    task: str,
    fields: dict[str, Any],
) -> None:
    absent = {"text_encoder_3": None, "tokenizer_3": None} if form == "sd3" else {}
    pipeline = getattr(diffusers, CLASSES[form]).from_pretrained(
        recipes[form].model, dtype=torch.float32, local_files_only=True, **absent
    )
    model: Any = load_model(_entry(recipes[form]), Placement("cpu", "fp32"))
    request = request_for("euler", task, photo, **fields)
    (expected,) = stock(in_channels_last(pipeline), request, "pil")
    (state,) = denoise(model, [request])
    assert_same_picture(model, state, expected)


@pytest.mark.parametrize("form", ["sdxl", "sd3"])
def test_an_interrupted_recipe_goes_on_as_if_nothing_had_happened(
    recipes: dict[FormatName, DerivedRecipe],
    tmp_path: Path,
    form: FormatName,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = recipes[form]
    parts = replace(_miniature(tmp_path, form), out=tmp_path)
    tmp_path.joinpath("start").symlink_to(whole.start)
    tmp_path.joinpath("cache.safetensors").symlink_to(whole.cache)
    learner: Any = FlowLearner if form == "sd3" else XLLearner
    learn = learner.loss

    def dies(self: Any, share: Share) -> Any:
        if share.update == 2:
            raise _Power
        return learn(self, share)

    with monkeypatch.context() as patch:
        patch.setattr(learner, "loss", dies)
        with pytest.raises(_Power):
            parts.run()
    assert not parts.model.exists()
    parts.run()
    one, other = (
        torch.load(recipe.checkpoint, weights_only=True)["ema"] for recipe in (whole, parts)
    )
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_model_is_compared_with_what_its_refiner_makes_of_it(
    recipes: dict[FormatName, DerivedRecipe], tmp_path: Path
) -> None:
    evaluation = evaluate(
        recipes["sdxl"].model,
        JUDGE_DIR,
        FEW,
        device=CPU,
        per_object=1,
        timing_repeats=1,
        command="the command",
        refiner=recipes["sdxl-refiner"].model,
        switch_at=0.7,
    )
    refined = evaluation.report.refined
    assert refined is not None
    assert refined.held_out.pictures == 2
    assert evaluation.refined is not None
    assert len(evaluation.refined) == len(evaluation.pictures)
    assert any((a != b).any() for a, b in zip(evaluation.pictures, evaluation.refined, strict=True))
    # Three tenths of the noise is little: both give back most of a picture.
    assert min(refined.restored_psnr_db.without, refined.restored_psnr_db.refined) > 12
    write_report(evaluation, FEW, tmp_path)
    data = json.loads((tmp_path / "embedded-xl.json").read_text(encoding="utf-8"))
    assert data["refined"]["switch_at"] == 0.7
    page = (tmp_path / "embedded-xl.md").read_text(encoding="utf-8")
    assert "last 30% of the noise levels" in page
    assert "--family sdxl --out runs/embedded-xl" in page
    with Image.open(tmp_path / "images" / "embedded-xl-sheet.png") as image:
        image.load()


def test_the_transformer_is_evaluated_too(
    recipes: dict[FormatName, DerivedRecipe], tmp_path: Path
) -> None:
    arguments = ["--per-object", "1", "--timing-repeats", "1", "--device", "cpu"]
    one = World(WORLD.colours, WORLD.subjects[:1] + WORLD.subjects[-1:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.__main__.load_world", lambda: one)
        main(["evaluate", "--model", str(recipes["sd3"].model), "--out", str(tmp_path), *arguments])
    data = json.loads((tmp_path / "embedded-3.json").read_text(encoding="utf-8"))
    assert data["pipeline"] == "StableDiffusion3Pipeline"
    assert data["refined"] is None
    assert "(≥ 85 %)" in (tmp_path / "embedded-3.md").read_text(encoding="utf-8")


def test_pictures_with_counted_zeros_are_the_stock_pipelines(
    recipes: dict[FormatName, DerivedRecipe],
) -> None:
    pipeline = load_pipeline(recipes["sd3"].model, CPU)
    request = Request("panda", "yellow", 3)
    (picture,) = draw(pipeline, [request])
    (expected,) = pipeline(
        [request.prompt],
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        generator=[torch.Generator().manual_seed(request.seed)],
        width=64,
        height=64,
    ).images
    assert np.abs(picture.astype(int) - np.asarray(expected)).max() <= 1


def test_the_command_line_runs_the_stages_it_is_asked_for(
    recipes: dict[FormatName, DerivedRecipe], tmp_path: Path
) -> None:
    tmp_path.joinpath("start").symlink_to(recipes["sd3"].start)
    tmp_path.joinpath("cache.safetensors").symlink_to(recipes["sd3"].cache)
    options = "--device cpu --processes 1 --stages denoiser --denoiser-samples 16 --batch 16"
    main(["embedded", "--family", "sd3", "--out", str(tmp_path), *options.split()])
    assert torch.load(tmp_path / "checkpoints" / "denoiser.pt", weights_only=True)["update"] == 1
    assert not (tmp_path / "model").exists()


def test_a_finished_model_can_be_gone_on_from(
    recipes: dict[FormatName, DerivedRecipe],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("training.embedded.derived.load_world", lambda: FEW)
    known = recipes["sd3"].model
    options = ["--out", str(tmp_path), "--device", "cpu", "--stages", "start"]
    main(["embedded", "--family", "sd3", "--init-from", str(known), *options])
    (trained,) = (known / "transformer").glob("*.safetensors")
    (begun,) = (tmp_path / "start" / "transformer").glob("*.safetensors")
    values = load_file(begun)
    for name, value in load_file(trained).items():
        assert torch.equal(values[name].half(), value), name
    with pytest.raises(SystemExit):
        main(["embedded", "--family", "sdxl", "--init-from", str(known), *options])
    assert "is a StableDiffusion3Pipeline, and sdxl needs a StableDiffusionXLPipeline" in (
        capsys.readouterr().err
    )


def test_a_stage_of_another_family_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["embedded", "--family", "sd3", "--out", "unused", "--stages", "start,judge"])
    assert f"unknown stage judge: choose from {', '.join(DERIVED_STAGES)}" in (
        capsys.readouterr().err
    )
