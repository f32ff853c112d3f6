"""The memory that a computation takes beside its weights, found without computing it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(work: Callable[[], object], modules: Iterable[torch.nn.Module] = ()) -> int:
    """The most bytes that tensors take at the same time while some work is done.

    The work is done on tensors without data, as on a CPU: it takes seconds, and next to no memory,
    however large it is. What it makes counts from the call that makes it until nothing refers to
    it any more, so all that autograd keeps for the way back does. What kernels need for themselves
    and what allocators lose by fragmentation does not.

    Args:
        work: is called once; what it reads but for ``modules`` has to be made in it. It must not
            look at values.
        modules: what the work calls, on the device ``meta`` or any other. The parameters and
            buffers that they come with are no part of the result; gradients are. Afterwards they
            are as they were.
    """
    places = list(_places(modules))
    counter = _LiveBytes()
    with FakeTensorMode():
        stand_ins = {id(tensor): _stand_in(tensor) for *_, tensor in places}
        for tensor in stand_ins.values():
            counter.know(tensor, 0)
        try:
            for tensors, name, tensor in places:
                tensors[name] = stand_ins[id(tensor)]
            with counter:
                work()
        finally:
            for tensors, name, tensor in places:
                tensors[name] = tensor
    return counter.peak


def _places(
    modules: Iterable[torch.nn.Module],
) -> Iterator[tuple[dict[str, Any], str, torch.Tensor]]:
    """Where each parameter and buffer stands, its name there, and itself."""
    for module in chain.from_iterable(each.modules() for each in modules):
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    yield tensors, name, tensor


def _stand_in(tensor: torch.Tensor) -> torch.Tensor:
    """Another one of the same kind, without data (``Module.to`` cannot make such)."""
    made = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(made, requires_grad=tensor.requires_grad)
    return made


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that calls make, until they are gone.

    Attributes:
        peak: the most bytes there were at a time.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._live = 0
        self._known: dict[int, weakref.finalize[Any, Any]] = {}

    def know(self, tensor: torch.Tensor, size: int | None = None) -> None:
        """Count a tensor's storage, unless it is known: views are of one that is."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes() if size is None else size
        self._known[key] = weakref.finalize(storage, self._gone, key, size)
        self._live += size
        self.peak = max(self.peak, self._live)

    def _gone(self, key: int, size: int) -> None:
        del self._known[key]
        self._live -= size

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, torch.Tensor):
                self.know(each)
        return result
