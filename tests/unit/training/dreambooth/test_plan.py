"""The plan of a run: what it counts, what it says, and whether a real step takes as much."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.catalog import BUILT_IN
from models.dry_run import weightless
from models.loading import load_pipeline
from models.lora import LORA_FILE
from tests.conftest import ROOT
from tests.effort import only_in_full
from tests.unit.models import tiny
from tests.unit.models.conftest import DEFAULTS, write_catalog
from tests.unit.training.dreambooth.conftest import MakeOptions
from training.__main__ import main
from training.dreambooth.base import find_base
from training.dreambooth.loop import train
from training.dreambooth.plan import make_plan
from training.dreambooth.run import RunFolder
from training.dreambooth.skeleton import in_precision, memory


@only_in_full
def test_it_counts_the_weights_that_will_be_there(make_options: MakeOptions) -> None:
    options = make_options(
        steps=1, train_text_encoder=True, prior_preservation=True, class_images=1
    )
    stages = {stage.name: stage for stage in make_plan(options).stages}
    assert list(stages) == ["prompts: text_encoder", "class pictures", "pictures: vae", "training"]
    real = load_pipeline(
        find_base(options), location=BUILT_IN.parent / "embedded", dtype=torch.float32, device="cpu"
    )
    unet, vae, text = (memory(one) for one in (real.unet, real.vae, real.text_encoder))
    assert stages["prompts: text_encoder"].parts["weights"] == text
    assert stages["class pictures"].parts["weights"] == unet + vae
    assert stages["pictures: vae"].parts["weights"] == vae
    training = stages["training"]
    assert training.parts["weights"] == unet + text
    assert training.total == sum(training.parts.values())

    train(options)
    lora = load_file(RunFolder(options.work).result / LORA_FILE)
    size = sum(weight.nbytes for weight in lora.values())
    assert make_plan(options).trained == size // 4
    assert training.parts["LoRA"] == training.parts["gradients"] == size
    assert training.parts["optimiser"] == 2 * size


@only_in_full
def test_what_saves_memory_saves_it_in_the_plan_too(make_options: MakeOptions) -> None:
    def training(**changes: object) -> dict[str, int]:
        return dict(make_plan(make_options(**changes)).stages[-1].parts)

    usual, large = training(rank=64), training(rank=64, batch_size=4)
    assert large["activations"] > 1.7 * usual["activations"]
    small = training(rank=64, optimizer="adamw8bit", gradient_checkpointing=True)
    assert small["activations"] < 0.8 * usual["activations"]
    assert 3.5 < usual["optimiser"] / small["optimiser"] < 4
    full = training(full=True)
    assert "LoRA" not in full
    assert full["optimiser"] == 2 * full["gradients"] == 2 * full["weights"]


def test_half_precision_leaves_out_what_would_overflow(tmp_path: Path) -> None:
    tiny.sd3(t5=True).save_pretrained(tmp_path)
    single, half = (
        in_precision(weightless(tmp_path)["text_encoder_3"], precision)
        for precision in ("fp32", "fp16")
    )
    exact = [name for name, weights in half.named_parameters() if weights.dtype == torch.float32]
    assert exact
    assert all(".wo." in name for name in exact)
    assert memory(single) / 2 < memory(half) < memory(single)
    assert all(weights.is_meta for weights in half.parameters())


@only_in_full
@pytest.mark.slow
def test_stable_diffusion_3_is_planned_without_weights(capsys: pytest.CaptureFixture[str]) -> None:
    """At full size, on any machine: LoRA, one picture of 1024 x 1024."""
    line = "dreambooth --plan --base sd3-medium --mixed-precision bf16 --gradient-checkpointing"
    main([*line.split(), "--validation-every", "0"])
    said = capsys.readouterr().out
    rows = {line.split("  ")[0]: line.split() for line in said.splitlines() if "  " in line}
    assert float(rows["training"][-1]) == pytest.approx(4.9, abs=0.3)
    # T5 XXL in two bytes a weight.
    assert float(rows["prompts: text_encoder_3"][2]) == pytest.approx(9.52, abs=0.01)
    (peak,) = (line for line in said.splitlines() if line.startswith("expected peak:"))
    assert float(peak.split()[2]) < 24
    assert peak.endswith("GB (prompts: text_encoder_3)")


def test_a_base_whose_configs_are_not_here_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = {"type": "huggingface", "repo": "acme/there", "revision": "main"}
    entry = {"name": "there", "family": "sd1", "source": source, "defaults": DEFAULTS}
    catalog = write_catalog(tmp_path / "catalog.yaml", {**entry, "licence": "none"})
    line = ["dreambooth", "--plan", "--base", "there", "--catalog", str(catalog)]
    with pytest.raises(SystemExit) as stop:
        main(line)
    assert stop.value.code == 1
    said = capsys.readouterr().err
    assert "--plan: the configs of there are not known here" in said
    assert "python -m models pull there" in said


def test_a_quantised_base_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = {"type": "huggingface", "repo": "acme/small", "revision": "main"}
    entry = {"name": "small", "family": "sd1", "source": source, "defaults": DEFAULTS}
    catalog = write_catalog(
        tmp_path / "catalog.yaml", {**entry, "licence": "none", "quantize": {"denoiser": "int8"}}
    )
    with pytest.raises(SystemExit):
        main(["dreambooth", "--plan", "--base", "small", "--catalog", str(catalog)])
    assert "--base: small has its denoiser quantised" in capsys.readouterr().err


def test_a_run_needs_more_than_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["dreambooth", "--base", "embedded", "--token", "unqtkn"])
    assert stop.value.code == 2
    assert "required: --images, --class-name, --output" in capsys.readouterr().err


@only_in_full
@pytest.mark.slow
def test_a_real_step_takes_about_as_much() -> None:
    """Against the peak of a process's memory, of which allocators need some for themselves."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.training.dreambooth.measured_step"],
        cwd=ROOT,
        # Freed memory goes back to the system at once.
        env={**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    plain, checkpointing = (
        [int(size) for size in line.split()] for line in done.stdout.splitlines()
    )
    for planned, measured in (plain, checkpointing):
        assert 0.7 < measured / planned < 1.5
    assert checkpointing[1] < 0.7 * plain[1]
