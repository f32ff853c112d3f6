"""The UNet with its repeated blocks compiled by torch's Inductor
(https://docs.pytorch.org/tutorials/recipes/regional_compilation.html), never while a pass waits.

Dynamo keeps what it has compiled with the code of a function, behind guards on the arguments. So
one thread can compile, and another can run what is there already without ever compiling:

- A pass runs the UNet in dynamo's run-only mode, which is a thread's own. A block takes compiled
  code whose guards hold for its arguments, and is run as it stands if there is none.
- A shape that is new is compiled aside: a thread makes a pass over zeros with a twin of the UNet,
  of the same parameters, whose blocks are compiled. It takes the memory of a pass of that shape.
"""

from __future__ import annotations

import copy
import logging
import weakref
from collections import deque
from collections.abc import Sequence
from itertools import chain
from threading import Condition, Lock, Thread
from time import monotonic
from typing import Any, Final, Literal, NamedTuple

import torch
from torch._dynamo import config as dynamo_config

from engine.cpu.threads import set_threads
from engine.pipelines.pass_shape import PassShape

logger = logging.getLogger(__name__)

MAX_SHAPES = 32  # that one UNet compiles aside: a compiler is not to be kept busy by clients
# Dynamo's own limit is 8 for each function, and all blocks of all UNets are one function: they need
# an entry for each width and kind of shape. Ours is MAX_SHAPES.
_ENTRIES: Final = 4096
# Cores are for passes: one compilation at a time, whatever the number of UNets.
_COMPILING: Final = Lock()


class _Pass(NamedTuple):
    """A shape and the number of CPU threads, which guards look at too."""

    shape: PassShape
    threads: int


class InductorUNet:
    """A UNet with compiled blocks; see ``compile_denoiser``. Can be called from several threads."""

    def __init__(
        self, unet: Any, *, threads: int, warm: Sequence[PassShape] = (), aside: bool = True
    ) -> None:
        self.config = unet.config
        self.dtype: torch.dtype = unet.dtype
        self.device: torch.device = unet.device
        self._run = torch._dynamo.run(unet.forward)
        self._twin = _compiled_twin(unet)
        self._changed = Condition()
        self._waiting: deque[_Pass] = deque()
        self._known: set[_Pass] = set()
        self._compiled: set[_Pass] = set()
        self._thread: Thread | None = None
        self._limit = MAX_SHAPES + len(warm)
        wanted = [_Pass(shape, threads) for shape in warm]
        for each in wanted:
            self._compile_aside(each)
        self.wait()
        if missing := [each.shape for each in wanted if each not in self._compiled]:
            raise RuntimeError(f"passes of {missing[0]} cannot be compiled: see the log")
        if not aside:
            self._limit = 0

    def __call__(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        *,
        encoder_hidden_states: torch.Tensor,
        added_cond_kwargs: dict[str, torch.Tensor] | None = None,
        return_dict: Literal[False] = False,
    ) -> tuple[torch.Tensor]:
        rows, _, height, width = sample.shape
        shape = PassShape(rows, height, width, encoder_hidden_states.shape[1])
        self._compile_aside(_Pass(shape, torch.get_num_threads()))
        # The flag that dynamo looks at here belongs to the process, so it is also set where the
        # other thread traces; without the patch (which is this thread's own) that is an error. With
        # it, the pass runs uncompiled.
        with dynamo_config.patch(error_on_nested_fx_trace=False):
            prediction: tuple[torch.Tensor] = self._run(
                sample,
                timestep,
                encoder_hidden_states=encoder_hidden_states,
                added_cond_kwargs=added_cond_kwargs,
                return_dict=False,
            )
        return prediction

    def compiled(self, shape: PassShape, threads: int) -> bool:
        """Whether passes of this shape, with so many CPU threads, run compiled."""
        return _Pass(shape, threads) in self._compiled

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to compile; False after ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._thread is None, timeout)

    def _compile_aside(self, wanted: _Pass) -> None:
        if wanted in self._known or len(self._known) >= self._limit:
            return
        with self._changed:
            if wanted in self._known:
                return
            self._known.add(wanted)
            if len(self._known) == self._limit:
                logger.warning("%d shapes of passes were compiled: no more are", self._limit)
            self._waiting.append(wanted)
            if self._thread is None:
                self._start()

    def _start(self) -> None:
        # The thread must not keep a UNet that has been evicted.
        thread = Thread(target=self._work, args=(weakref.ref(self),), name="compiler", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # No memory for another thread. The pass that is about to run needs none.
            logger.exception("passes stay uncompiled")
            self._waiting.clear()
        else:
            self._thread = thread

    @staticmethod
    def _work(unet: weakref.ref[InductorUNet]) -> None:
        while (kept := unet()) is not None and kept._compile_next():
            del kept

    def _compile_next(self) -> bool:
        """Compile for one of the waiting passes; False, and the thread's end, if there is none."""
        with self._changed:
            if not self._waiting:
                self._thread = None
                self._changed.notify_all()
                return False
            wanted = self._waiting.popleft()
        with _COMPILING:
            self._compile(wanted)
        return True

    def _compile(self, wanted: _Pass) -> None:
        shape, threads = wanted
        started = monotonic()
        try:
            set_threads(threads)
            with (
                torch.inference_mode(),
                dynamo_config.patch(recompile_limit=_ENTRIES, accumulated_recompile_limit=_ENTRIES),
            ):
                self._twin(**shape.inputs(self), return_dict=False)
        except Exception:
            logger.exception("%s: passes stay uncompiled", shape)
            return
        self._compiled.add(wanted)
        logger.info("%s: compiled in %.1f s", shape, monotonic() - started)


def _compiled_twin(unet: Any) -> Any:
    """The UNet once more around the same parameters, with compiled blocks."""
    shared = {id(tensor): tensor for tensor in chain(unet.parameters(), unet.buffers())}
    twin = copy.deepcopy(unet, shared)
    for module in twin.modules():
        if type(module).__name__ in twin._repeated_blocks:
            # Not the module's own ``compile``: that is kept with the code of ``_call_impl``, which
            # all modules share and an uncompiled UNet does not look into.
            module.forward = torch.compile(module.forward, fullgraph=True, dynamic=True)
    return twin
