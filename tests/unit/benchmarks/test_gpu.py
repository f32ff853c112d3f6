"""The figures at real size, taken at a tiny size on the CPU: same classes, same path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu import CONFIGS, Scale, measure
from benchmarks.gpu_figures import write


@pytest.fixture
def tiny(tmp_path: Path) -> Scale:
    """SD 1.5's configs with everything narrower."""
    changes: dict[str, dict[str, Any]] = {
        "unet": {
            "block_out_channels": [32, 64],
            "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
            "layers_per_block": 1,
            "cross_attention_dim": 32,
            "sample_size": 8,
        },
        "vae": {
            "block_out_channels": [32, 32],
            "down_block_types": ["DownEncoderBlock2D"] * 2,
            "up_block_types": ["UpDecoderBlock2D"] * 2,
            "layers_per_block": 1,
        },
        "text_encoder": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_attention_heads": 4,
            "num_hidden_layers": 1,
            "projection_dim": 32,
        },
        "scheduler": {},
    }
    for component, fields in changes.items():
        (source,) = (CONFIGS / "sd-1.5" / component).glob("*.json")
        target = tmp_path / component / source.name
        target.parent.mkdir()
        target.write_text(json.dumps({**json.loads(source.read_text()), **fields}))
    return Scale(
        config=tmp_path,
        device="cpu",
        dtype=torch.float32,
        side=32,
        steps=2,
        mixture=(1, 2, 3),
        batches=(1, 2),
        clients=3,
        pictures=6,
        repeats=1,
        matrix=64,
    )


def test_every_figure_is_taken(tiny: Scale, tmp_path: Path) -> None:
    figures = measure(tiny)
    assert [each.batch for each in figures.step] == [1, 2]
    for value in (
        figures.ceiling_tflops,
        figures.row_gflop,
        figures.serial,
        figures.batched,
        figures.engine,
        figures.request_level,
        figures.mixed_steps,
    ):
        assert value > 0
    assert figures.engine_over_serial == pytest.approx(figures.engine / figures.serial, rel=0.01)
    write(figures, tmp_path)
    assert json.loads((tmp_path / "benchmark-cuda.json").read_text())["clients"] == 3
    assert "3 clients" in (tmp_path / "benchmark-cuda.md").read_text()


def test_without_a_device_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.measure_gpu(tmp_path, quick=True) == 2
    assert "no CUDA device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
