"""A pass of a denoiser over the rows of several states."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import torch

from engine.denoising.conditioning import Conditioning
from engine.denoising.state import DenoisingState
from engine.lora.rows import LoraPasses
from engine.pipelines.parts import Denoiser
from engine.pipelines.skipped_layers import skipped_layers


class DenoiserPass:
    """Puts states into rows, has the denoiser evaluated, and takes the rows apart.

    Args:
        denoiser: what is called.
        loras: of its layers.
    """

    def __init__(self, denoiser: Denoiser, loras: LoraPasses) -> None:
        self._predict = denoiser.predict
        self._packed = denoiser.packed
        self._loras = loras
        # Kept, as these properties look through the whole module each time.
        self._device: torch.device = denoiser.module.device
        self._dtype: torch.dtype = denoiser.module.dtype

    def run(self, states: Sequence[DenoisingState], rows: int) -> list[torch.Tensor]:
        """See ``DiffusionModel.forward``."""
        sizes = _by_size(states)
        if len(sizes) == 1:
            predictions = self._one_size(states, rows - sum(state.rows for state in states))
            return _guided(states, predictions)
        ordered = [state for alike in sizes for state in alike]
        parts = zip(sizes, self._mixed(sizes, ordered), strict=True)
        results = [result for alike, each in parts for result in _guided(alike, each)]
        found = {id(state): result for state, result in zip(ordered, results, strict=True)}
        return [found[id(state)] for state in states]

    def _one_size(self, states: Sequence[DenoisingState], padding: int) -> torch.Tensor:
        with self._loras.applied(states):
            return self._predict(
                self._latents(states, padding),
                self._times(states, padding),
                _conditioning(states, padding),
                skipped_layers(states),
            )

    def _mixed(
        self, sizes: Sequence[Sequence[DenoisingState]], ordered: Sequence[DenoisingState]
    ) -> Sequence[torch.Tensor]:
        if self._packed is None:
            raise ValueError("pictures of different sizes cannot share a pass of this denoiser")
        latents = [self._latents(alike) for alike in sizes]
        packing = self._packed.packing(latents)
        with self._loras.applied(ordered, self._packed.packs, packing.tokens):
            return self._packed.predict(
                latents,
                self._times(ordered),
                _conditioning(ordered),
                skipped_layers(ordered),
            )

    def _latents(self, states: Sequence[DenoisingState], padding: int = 0) -> torch.Tensor:
        samples: list[torch.Tensor] = []
        for state in states:
            sample = state.scaled_latents()
            if state.extra_channels is not None:
                sample = torch.cat([sample, state.extra_channels], dim=1)
            samples += [sample] * state.rows
        # Latents of given pictures come in that layout, sampled ones do not, and what LoRAs add to
        # a convolution is rounded otherwise in another one: so it must not be up to the neighbours.
        latents = torch.cat(samples + samples[:1] * padding).to(self._dtype)
        return latents.contiguous(memory_format=torch.channels_last)

    def _times(self, states: Sequence[DenoisingState], padding: int = 0) -> torch.Tensor:
        timesteps = [state.timestep for state in states for _ in range(state.rows)]
        timesteps += timesteps[:1] * padding
        # Not waiting for the copy: the device is to be kept fed.
        times = torch.tensor(timesteps, dtype=torch.float32)
        return times.to(self._device, non_blocking=True)


def _by_size(states: Iterable[DenoisingState]) -> list[list[DenoisingState]]:
    """Those of each size, neighbours or not."""
    sizes: dict[Hashable, list[DenoisingState]] = {}
    for state in states:
        sizes.setdefault(state.shape_key, []).append(state)
    return list(sizes.values())


def _conditioning(states: Sequence[DenoisingState], padding: int = 0) -> Conditioning:
    return Conditioning.concatenate([state.row_conditioning for state in states], padding)


def _guided(states: Sequence[DenoisingState], predictions: torch.Tensor) -> list[torch.Tensor]:
    """Each state's prediction after guidance, of one size; padding is left out."""
    rows = [state.rows for state in states]
    parts = torch.split(predictions[: sum(rows)].float(), rows)
    return [state.guidance.combine(part) for state, part in zip(states, parts, strict=True)]
