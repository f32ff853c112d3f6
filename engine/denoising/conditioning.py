"""Conditioning: the denoiser's inputs beside latents and timestep, as named tensors in rows."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, eq=False)
class Conditioning:
    """Named row tensors, such as ``encoder_hidden_states``.

    Attributes:
        tensors: by the name of the denoiser's argument, ``[rows, ...]`` each, all with the same
            number of rows.
    """

    tensors: Mapping[str, torch.Tensor]

    @classmethod
    def concatenate(cls, parts: Sequence[Conditioning], padding: int = 0) -> Conditioning:
        """The rows of all parts (equal ``shape_key``), and ``padding`` copies of the first row."""
        rows = [part.tensors for part in parts]
        if padding > 0:
            first = parts[0].tensors
            rows.append({name: first[name][:1].repeat_interleave(padding, 0) for name in first})
        return cls({name: torch.cat([part[name] for part in rows]) for name in rows[0]})

    def to(self, device: torch.device, dtype: torch.dtype) -> Conditioning:
        """The same where a denoiser is, as it computes."""
        return Conditioning({name: part.to(device, dtype) for name, part in self.tensors.items()})

    @property
    def rows(self) -> int:
        return len(next(iter(self.tensors.values())))

    @property
    def shape_key(self) -> Hashable:
        """Equal for conditionings whose rows fit into one tensor."""
        return tuple((name, tuple(tensor.shape[1:])) for name, tensor in self.tensors.items())

    def last_twice(self) -> Conditioning:
        """All rows, and that of the prompt once more."""
        return Conditioning(
            {name: torch.cat([tensor, tensor[-1:]]) for name, tensor in self.tensors.items()}
        )

    def last(self) -> Conditioning:
        """The last row alone: that of the prompt."""
        return Conditioning({name: tensor[-1:] for name, tensor in self.tensors.items()})
