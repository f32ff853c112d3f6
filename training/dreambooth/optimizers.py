"""The optimisers of a run, and what they remember of each weight."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Final

import torch

from training.dreambooth.errors import TrainingError
from training.dreambooth.options import OptimizerName

# bitsandbytes keeps smaller tensors in fp32, and a factor for each block of the others.
_SMALL: Final = 4096
_BLOCK: Final = 256


def check_optimizer(name: OptimizerName) -> None:
    """Raise ``TrainingError`` unless its library is installed."""
    if name == "adamw8bit" and find_spec("bitsandbytes") is None:
        raise TrainingError(
            "--optimizer=adamw8bit needs bitsandbytes: "
            "pip install --no-deps -r requirements-quantize.txt"
        )


def make_optimizer(
    name: OptimizerName, parameters: Iterable[torch.nn.Parameter], learning_rate: float
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2017), with moments in fp32 or in 8 bits (Dettmers et al. 2021,
    https://arxiv.org/abs/2110.02861).

    Raises:
        TrainingError: see ``check_optimizer``.
    """
    if name == "adamw":
        return torch.optim.AdamW(parameters, lr=learning_rate)
    check_optimizer(name)
    import bitsandbytes

    optimizer: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(parameters, lr=learning_rate)
    return optimizer


def state_bytes(name: OptimizerName, parameters: Iterable[torch.nn.Parameter]) -> int:
    """Bytes of both moments of all parameters."""
    return sum(_moments(name, parameter.numel()) for parameter in parameters)


def _moments(name: OptimizerName, count: int) -> int:
    if name == "adamw" or count < _SMALL:
        return 2 * 4 * count
    return 2 * (count + 4 * -(-count // _BLOCK))
