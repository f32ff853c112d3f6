"""A run: stopped and gone on with, broken off, and with every option at once."""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from models import placement
from models.lora import LORA_FILE
from tests.effort import only_in_full
from tests.unit.training.dreambooth.conftest import ROOT, MakeOptions, arguments
from training.dreambooth.errors import TrainingError
from training.dreambooth.loop import train
from training.dreambooth.options import Options
from training.dreambooth.run import RunFolder


def _weights(options: Options) -> dict[str, torch.Tensor]:
    return load_file(RunFolder(options.work).result / LORA_FILE)


def _log(options: Options) -> list[dict[str, float]]:
    lines = RunFolder(options.work).log.read_text().splitlines()
    return [json.loads(line) for line in lines]


def _checkpoints(options: Options) -> list[str]:
    return [path.name for path in RunFolder(options.work).checkpoints.iterdir()]


def _assert_same(first: Options, second: Options) -> None:
    one, two = _weights(first), _weights(second)
    assert one.keys() == two.keys()
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert [{**line, "seconds": 0} for line in _log(first)] == [
        {**line, "seconds": 0} for line in _log(second)
    ]


@only_in_full
@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    make_options: MakeOptions, tmp_path: Path
) -> None:
    whole = make_options(steps=24, work=tmp_path / "whole")
    train(whole)
    killed = make_options(steps=24, work=tmp_path / "killed", checkpoint_every=3)
    process = subprocess.Popen(
        [sys.executable, "-m", "training", *arguments(killed)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "BENTOML_HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    log = RunFolder(killed.work).log
    deadline = time.monotonic() + 240
    while not log.exists() or len(log.read_text().splitlines()) < 5:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not RunFolder(killed.work).result.exists()
    assert any(name.startswith("step-") for name in _checkpoints(killed))
    train(killed)
    _assert_same(whole, killed)


def test_a_finished_run_can_be_made_longer(make_options: MakeOptions, tmp_path: Path) -> None:
    longer = make_options(steps=6, work=tmp_path / "whole")
    train(longer)
    train(make_options(steps=3))
    assert _checkpoints(make_options()) == ["step-0000003"]
    train(make_options(steps=6))
    _assert_same(longer, make_options())


def test_a_run_of_another_kind_is_not_gone_on_with(make_options: MakeOptions) -> None:
    train(make_options(steps=1))
    before = _weights(make_options())
    with pytest.raises(TrainingError, match=r"has a run of another kind \(rank: 4, not 8\)"):
        train(make_options(rank=8))
    assert _weights(make_options()).keys() == before.keys()


def test_weights_never_become_nan(make_options: MakeOptions) -> None:
    train(make_options(steps=2))
    wild = make_options(steps=9, work=make_options().work.with_name("wild"), learning_rate=1e30)
    with pytest.raises(TrainingError, match="not a number any more at step 2"):
        train(wild)
    assert not RunFolder(wild.work).checkpoints.exists()


@contextmanager
def _small_disk(size: int) -> Iterator[None]:
    """No file may become larger: the system refuses to write on, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_costs_no_checkpoint(make_options: MakeOptions, tmp_path: Path) -> None:
    whole = make_options(work=tmp_path / "whole")
    train(whole)
    train(make_options(steps=2))
    with (
        _small_disk(100_000),
        pytest.raises(
            TrainingError, match=r"step 4 could not be written.* last one is step-0000002"
        ),
    ):
        train(make_options())
    assert _checkpoints(make_options()) == ["step-0000002"]
    train(make_options())
    _assert_same(whole, make_options())


@only_in_full
def test_everything_at_once(make_options: MakeOptions) -> None:
    options = make_options(
        crop="random",
        crops=2,
        flip=True,
        train_text_encoder=True,
        targets=("attention", "feed-forward", "convolution"),
        prior_preservation=True,
        class_images=2,
        accumulation=2,
        schedule="cosine",
        warmup=1,
        snr_gamma=5.0,
        gradient_checkpointing=True,
        validation_every=4,
        validation_images=1,
        validation_prompts=("a unqtkn on a red background", "a cat on a blue background"),
    )
    train(options)
    log = _log(options)
    assert [line["step"] for line in log] == [1, 2, 3, 4]
    for line in log:
        assert math.isfinite(line["gradient_norm"])
        assert line["loss"] == pytest.approx(line["subject_loss"] + line["class_loss"])
    rates = [line["learning_rate"] for line in log]
    assert rates[0] == 0
    assert rates[1] == pytest.approx(options.learning_rate)
    assert rates[1] > rates[2] > rates[3] > 0
    names = _weights(options)
    assert {name.partition(".")[0] for name in names} == {"unet", "text_encoder"}
    assert any(".conv1." in name for name in names)
    assert any(".ff." in name for name in names)
    (sheet,) = RunFolder(options.work).sheets.iterdir()
    assert sheet.name == "step-0000004.png"
    with Image.open(sheet) as image:
        # A column and two rows of pictures with a side of 192 pixels.
        assert image.width > 192
        assert image.height > 2 * 192
    assert len(list(RunFolder(options.work).class_pictures.iterdir())) == 2


def test_mixed_precision(make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    # torch computes in bf16 on any CPU; without the instructions it is only slower.
    monkeypatch.setattr(placement, "_cpu_flags", lambda: {"avx512_bf16"})
    options = make_options(steps=2, mixed_precision="bf16", train_text_encoder=True)
    train(options)
    weights = _weights(options)
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert all(value.any() for name, value in weights.items() if ".lora_B." in name)
    assert any(".lora_B." in name for name in weights)


def test_checkpointing_gradients_changes_nothing(make_options: MakeOptions, tmp_path: Path) -> None:
    frugal = make_options(
        work=tmp_path / "frugal", gradient_checkpointing=True, train_text_encoder=True
    )
    usual = make_options(train_text_encoder=True)
    train(frugal)
    train(usual)
    first, second = _weights(frugal), _weights(usual)
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=0, atol=1e-6)
