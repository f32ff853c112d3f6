"""Low-rank adapters (LoRA), and how rows of one pass have different ones.

A layer's output W x becomes W x + s B A x, with A and B of low rank (Hu et al. 2021,
https://arxiv.org/abs/2106.09685). W is left alone, and the rest is computed for the rows that want
it: so one pass serves rows with different LoRAs, and with none.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias

import torch
from torch.nn import functional

from contract.request import LoraUse


class LowRank(NamedTuple):
    """What is added to a linear or a convolutional layer.

    Attributes:
        down: A: ``[rank, in]``, or ``[rank, in, height, width]`` of the layer's kernel.
        up: B: ``[out, rank]``, or ``[out, rank, 1, 1]``.
        scaling: s.
    """

    down: torch.Tensor
    up: torch.Tensor
    scaling: float

    def __call__(self, layer: Any, inputs: torch.Tensor) -> torch.Tensor:
        """B A x, not scaled, for some rows.

        Args:
            layer: the ``torch.nn.Linear`` or ``Conv2d``.
            inputs: ``[rows, ..., in]`` or ``[rows, in, height, width]``.
        """
        if isinstance(layer, torch.nn.Conv2d):
            # Padding and the like are the layer's.
            return functional.conv2d(layer._conv_forward(inputs, self.down, None), self.up)
        return functional.linear(functional.linear(inputs, self.down), self.up)


# By the layer's path in its module; LoRAs used together may each have something for a layer.
Layers: TypeAlias = Mapping[str, Sequence[LowRank]]
# Some rows of a batch: neighbours, or else their numbers, ``[rows]``.
Rows: TypeAlias = slice | torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """A loaded LoRA.

    Attributes:
        components: what it adds to the layers of the pipeline's components, by their names
            (``unet``, ``text_encoder``, ...) and the layers' paths; nothing empty.
    """

    components: Mapping[str, Mapping[str, LowRank]]

    @property
    def memory(self) -> int:
        """Bytes of the weights."""
        layers = chain.from_iterable(part.values() for part in self.components.values())
        return sum(layer.down.nbytes + layer.up.nbytes for layer in layers)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class LoraSet:
    """LoRAs that are applied together, in the order of their tags, whichever was asked for.

    Attributes:
        uses: the LoRAs; sets with equal ones are the same.
        components: what the set adds to each component, scaled as asked for.
        keys: those of the LoRAs that change a component.
    """

    uses: tuple[LoraUse, ...]
    components: Mapping[str, Layers]
    keys: Mapping[str, tuple[LoraUse, ...]]

    @classmethod
    def of(cls, uses: tuple[LoraUse, ...], adapters: Mapping[str, Adapter]) -> LoraSet:
        """The set of some uses, which are in order, with their adapters by tag."""
        parts = [(use, adapters[use.tag].components) for use in uses]
        names = sorted({name for _, components in parts for name in components})
        return cls(
            uses=uses,
            components={
                name: _stack([(part[name], use.scale) for use, part in parts if name in part])
                for name in names
            },
            keys={name: tuple(use for use, part in parts if name in part) for name in names},
        )

    def layers(self, component: str) -> Layers:
        """What the set adds to a component."""
        return self.components.get(component, {})

    def key(self, component: str) -> tuple[LoraUse, ...]:
        """Sets with equal keys change a component alike."""
        return self.keys.get(component, ())


def _stack(parts: Sequence[tuple[Mapping[str, LowRank], float]]) -> Layers:
    layers: dict[str, list[LowRank]] = {}
    for part, scale in parts:
        for path, low_rank in part.items():
            scaled = low_rank._replace(scaling=low_rank.scaling * scale)
            layers.setdefault(path, []).append(scaled)
    return layers


NO_LORAS: Final = LoraSet.of((), {})


class LoraHooks:
    """Lets rows of a module's passes have LoRAs.

    Layers that none of them changes stay as they are, and so does what they cost.

    Args:
        module: the first dimension of all its layers' inputs is the row.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module
        self._hooks: dict[str, Any] = {}
        # A pass may be made in two parts at the same time, each in a thread of its own.
        self._pass = threading.local()

    def cover(self, paths: Collection[str]) -> None:
        """Hook these layers and no other ones; not during a pass."""
        for path in [path for path in self._hooks if path not in paths]:
            self._hooks.pop(path).remove()
        for path in paths:
            if path not in self._hooks:
                hook = partial(self._hook, path)
                layer = self._module.get_submodule(path)
                self._hooks[path] = layer.register_forward_hook(hook)

    @contextmanager
    def applied(self, parts: Sequence[tuple[Rows, Layers]]) -> Iterator[None]:
        """A pass in this thread, within, adds to these rows what belongs to them. The layers are
        covered, and other rows stay as they are to the last bit."""
        self._pass.parts = parts
        try:
            yield
        finally:
            self._pass.parts = ()

    def _hook(
        self, path: str, layer: torch.nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor
    ) -> None:
        for rows, layers in getattr(self._pass, "parts", ()):
            for low_rank in layers.get(path, ()):
                added = low_rank(layer, inputs[0][rows])
                if isinstance(rows, slice):
                    output[rows].add_(added, alpha=low_rank.scaling)
                else:
                    output.index_add_(0, rows, added, alpha=low_rank.scaling)
