"""The rows of a pass that leave out some of the denoiser's layers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from engine.denoising.state import DenoisingState


class SkippedLayers:
    """Hands the inputs of transformer blocks through, for the rows that are to do without them.

    So these rows share the pass of all others. That the blocks compute them in vain costs little:
    it is few blocks of one row in three.

    Args:
        blocks: take ``hidden_states`` and ``encoder_hidden_states`` by name, and return both, the
            latter first (None in the last block); the first dimension of each is the row.
    """

    def __init__(self, blocks: Sequence[torch.nn.Module]) -> None:
        self._count = len(blocks)
        # A pass may be made in two parts at the same time, each in a thread of its own.
        self._pass = threading.local()
        for number, block in enumerate(blocks):
            block.register_forward_hook(partial(self._hook, number), with_kwargs=True)

    def missing(self, layers: Sequence[int]) -> list[int]:
        """Those of the layers' numbers that no block has."""
        return [layer for layer in layers if layer not in range(self._count)]

    def rows(self, states: Sequence[DenoisingState]) -> dict[int, list[int]]:
        """Of a pass over the rows of these states, those that leave out each layer."""
        rows: dict[int, list[int]] = {}
        end = 0
        for state in states:
            end += state.rows
            for layer in state.skipped_layers:
                rows.setdefault(layer, []).append(end - 1)
        return rows

    @contextmanager
    def applied(self, states: Sequence[DenoisingState]) -> Iterator[None]:
        """A pass in this thread, within, is over the rows of these states."""
        self._pass.rows = self.rows(states)
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
