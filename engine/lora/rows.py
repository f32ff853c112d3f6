"""The LoRAs of a denoiser pass: which rows have which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any
from weakref import WeakValueDictionary

import torch

from contract.request import LoraUse
from engine.denoising.state import DenoisingState
from engine.lora.adapter import NO_LORAS, Adapter, Layers, LoraHooks, LoraSet, Rows


class LoraPasses:
    """The LoRAs of the jobs in progress of a model.

    Layers have hooks as long as a job that wants them is in progress.

    Args:
        denoiser: its layers are hooked; nothing is done to it before there is a LoRA.
        component: its name in the pipeline.
        batch_invariant: compute what is added job by job, so that it cannot depend to the last bit
            on who else has the same LoRAs.
    """

    def __init__(self, denoiser: Any, component: str, *, batch_invariant: bool) -> None:
        self._denoiser = denoiser
        self._component = component
        self._hooks = LoraHooks(denoiser)
        self._batch_invariant = batch_invariant
        self._sets: WeakValueDictionary[tuple[LoraUse, ...], LoraSet] = WeakValueDictionary()

    def sets(
        self, wanted: Sequence[Sequence[LoraUse]], adapters: Mapping[str, Adapter]
    ) -> list[LoraSet]:
        """The sets of new jobs, hooked; equal ones are one, also with jobs in progress.

        Not during a pass.
        """
        found = [self._set(uses, adapters) for uses in wanted]
        self._hooks.cover({path for each in self._sets.values() for path in self._layers(each)})
        return found

    def applied(
        self,
        states: Sequence[DenoisingState],
        packs: Callable[[str], bool] | None = None,
        tokens: Sequence[slice] = (),
    ) -> AbstractContextManager[None]:
        """For a pass in this thread over the rows of these states.

        Args:
            packs: says of a layer's path whether the first dimension of its input is the token;
                None where it is the row everywhere.
            tokens: those of each row.
        """
        parts: list[tuple[Rows, Layers]] = []
        for loras, rows in self._sharing(states):
            layers = self._layers(loras)
            if packs is not None:
                packed = {path: layers[path] for path in layers if packs(path)}
                numbers = [token for row in rows for token in _numbers(tokens[row])]
                parts.append((self._rows(numbers), packed))
                layers = {path: layers[path] for path in layers if path not in packed}
            parts.append((self._rows(rows), layers))
        return self._hooks.applied(parts)

    def _sharing(self, states: Sequence[DenoisingState]) -> list[tuple[LoraSet, list[int]]]:
        """The sets in a pass, and the rows of each that are computed together."""
        parts: list[tuple[LoraSet, list[int]]] = []
        shared: dict[LoraSet, list[int]] = {}
        start = 0
        for state in states:
            rows = range(start, start + state.rows)
            start = rows.stop
            if not self._layers(state.loras):
                continue
            if self._batch_invariant or state.loras not in shared:
                shared[state.loras] = []
                parts.append((state.loras, shared[state.loras]))
            shared[state.loras].extend(rows)
        return parts

    def _layers(self, loras: LoraSet) -> Layers:
        return loras.layers(self._component)

    def _rows(self, rows: Sequence[int]) -> Rows:
        if rows[-1] - rows[0] == len(rows) - 1:
            return slice(rows[0], rows[-1] + 1)
        return torch.tensor(rows).to(self._denoiser.device, non_blocking=True)

    def _set(self, uses: Sequence[LoraUse], adapters: Mapping[str, Adapter]) -> LoraSet:
        if not uses:
            return NO_LORAS
        key = tuple(sorted(uses, key=lambda use: use.tag))
        found = self._sets.get(key)
        if found is None:
            found = self._sets[key] = LoraSet.of(key, adapters)
        return found


def _numbers(part: slice) -> range:
    return range(part.start, part.stop)
