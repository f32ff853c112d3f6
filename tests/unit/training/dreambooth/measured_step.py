"""A program: what an update of a small transformer takes, as planned and as measured, in bytes.

Only a process of its own has a peak of its own.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor

from engine.weights.memory import release
from training.dreambooth.families import FAMILIES
from training.dreambooth.network import Denoiser, prepare
from training.dreambooth.optimizers import make_optimizer, state_bytes
from training.dreambooth.options import Options
from training.dreambooth.plan import training_bytes

WIDTH, TEXT, POOLED, TOKENS, ROWS = 512, 64, 64, 77, 2
HERE = Path()
ARCHITECTURE = {
    "sample_size": 32,
    "num_layers": 6,
    "in_channels": 16,
    "out_channels": 16,
    "attention_head_dim": 64,
    "num_attention_heads": WIDTH // 64,
    "caption_projection_dim": WIDTH,
    "joint_attention_dim": TEXT,
    "pooled_projection_dim": POOLED,
    "pos_embed_max_size": 32,
}


def measure(*, checkpointing: bool) -> tuple[int, int]:
    """What was planned and what was measured, both beside the weights."""
    options = Options(
        base="-", images=HERE, token="-", class_name="-", output="-", work=HERE,
        instance_prompt="-", class_prompt="-", device="cpu", gradient_checkpointing=checkpointing,
    )  # fmt: skip
    family = FAMILIES["sd3"]
    network = SD3Transformer2DModel(**ARCHITECTURE).requires_grad_(False)
    denoiser = prepare(family, network, {}, TEXT, options).train()
    parameters = list(denoiser.trained().values())
    planned = training_bytes(
        lambda: _loss(denoiser), denoiser, state_bytes(options.optimizer, parameters), options
    )
    optimizer = make_optimizer(options.optimizer, parameters, options.learning_rate)
    # What libraries need when they are used for the first time is no part of it.
    _loss(denoiser).backward()  # type: ignore[no-untyped-call]
    optimizer.zero_grad()
    release()
    before = _status("VmRSS")
    # The peak counts from here on.
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(2):
        _loss(denoiser).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    return planned, _status("VmHWM") - before


def _loss(denoiser: Denoiser) -> Tensor:
    told = {
        "text_encoder": torch.zeros(ROWS, TOKENS, TEXT // 2),
        "text_encoder_2": torch.zeros(ROWS, TOKENS, TEXT // 2),
        "text_encoder_pooled": torch.zeros(ROWS, POOLED // 2),
        "text_encoder_2_pooled": torch.zeros(ROWS, POOLED // 2),
    }
    latents = torch.zeros(ROWS, 16, 32, 32)
    prediction: Tensor = denoiser(latents, torch.zeros(ROWS), told)
    return (prediction - latents + 1).square().mean()


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(*measure(checkpointing=False))
    print(*measure(checkpointing=True))
