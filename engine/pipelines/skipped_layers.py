"""The rows of a pass that leave out some of the denoiser's layers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

import torch

from engine.denoising.state import DenoisingState

# By the number of a layer, the rows that leave it out.
Skipped: TypeAlias = Mapping[int, Sequence[int]]


def skipped_layers(states: Sequence[DenoisingState]) -> Skipped:
    """What the rows of these states leave out, in a pass over them."""
    rows: dict[int, list[int]] = {}
    end = 0
    for state in states:
        end += state.rows
        for layer in state.skipped_layers:
            rows.setdefault(layer, []).append(end - 1)
    return rows


def as_mask(skipped: Skipped, rows: int, layers: int) -> torch.Tensor:
    """The same as ``[rows, layers]``, true where a row leaves out a layer."""
    mask = torch.zeros((rows, layers), dtype=torch.bool)
    for layer, leaving in skipped.items():
        mask[leaving, layer] = True
    return mask


class SkippedLayers:
    """Hands the inputs of transformer blocks through, for the rows that are to do without them.

    So these rows share the pass of all others. That the blocks compute them in vain costs little:
    it is few blocks of one row in three.

    Args:
        blocks: take ``hidden_states`` and ``encoder_hidden_states`` by name, and return both, the
            latter first (None in the last block); the first dimension of each is the row.
    """

    def __init__(self, blocks: Sequence[torch.nn.Module]) -> None:
        # A pass may be made in two parts at the same time, each in a thread of its own.
        self._pass = threading.local()
        for number, block in enumerate(blocks):
            block.register_forward_hook(partial(self._hook, number), with_kwargs=True)

    @contextmanager
    def applied(self, skipped: Skipped) -> Iterator[None]:
        """A pass in this thread, within, leaves these out."""
        self._pass.rows = skipped
        try:
            yield
        finally:
            self._pass.rows = {}

    def _hook(
        self,
        number: int,
        block: torch.nn.Module,
        inputs: tuple[Any, ...],
        named: Mapping[str, Any],
        output: tuple[torch.Tensor | None, torch.Tensor],
    ) -> None:
        text, hidden = output
        for row in getattr(self._pass, "rows", {}).get(number, ()):
            hidden[row] = named["hidden_states"][row]
            if text is not None:
                text[row] = named["encoder_hidden_states"][row]


@contextmanager
def masked(blocks: Sequence[torch.nn.Module], mask: torch.Tensor) -> Iterator[None]:
    """The same for a graph that is traced within, and takes any mask: see ``as_mask``."""

    def hook(
        number: int,
        block: torch.nn.Module,
        inputs: tuple[Any, ...],
        named: Mapping[str, Any],
        output: tuple[torch.Tensor | None, torch.Tensor],
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        text, hidden = output
        leaving = mask[:, number, None, None]
        hidden = torch.where(leaving, named["hidden_states"], hidden)
        if text is not None:
            text = torch.where(leaving, named["encoder_hidden_states"], text)
        return text, hidden

    handles = [
        block.register_forward_hook(partial(hook, number), with_kwargs=True)
        for number, block in enumerate(blocks)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
