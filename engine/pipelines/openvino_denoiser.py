"""Denoisers in OpenVINO, for CPUs in fp32 (``requirements-openvino.txt``): one graph for passes of
any shape, in which a row does not depend on its neighbours to the last bit.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final, Literal

import torch

from engine.pipelines.pass_shape import PassShape
from engine.pipelines.skipped_layers import Skipped, as_mask, masked

# Of what is traced; a graph made of them takes others.
_ROWS: Final = 2
_TOKENS: Final = 77
_PATCHES: Final = 3
# Where the channels are. How those of SDXL are divided into text and numbers, no config says.
_CHANNELS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "sample": 1,
        "hidden_states": 1,
        "encoder_hidden_states": 2,
        "pooled_projections": 1,
        "skipped": 1,
    }
)
_NOTHING: Final[Skipped] = MappingProxyType({})
# What a UNet takes in a mapping, of which a graph has none.
_NESTED: Final = "added_cond_kwargs"


class _Traced(torch.nn.Module):
    """A denoiser with positional arguments and a tensor for its result, as the tracer wants it.

    Args:
        names: of the arguments, in their order; ``skipped`` is a mask of the layers that each row
            leaves out.
        added: those that the denoiser takes in a mapping.
    """

    def __init__(self, denoiser: Any, names: Sequence[str], added: Sequence[str]) -> None:
        super().__init__()
        self._denoiser = denoiser
        self._names = names
        self._added = added

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        inputs: dict[str, Any] = dict(zip(self._names, tensors, strict=True))
        if self._added:
            inputs[_NESTED] = {name: inputs.pop(name) for name in self._added}
        mask = inputs.pop("skipped", None)
        if mask is None:
            return self._predict(inputs)
        with masked(self._denoiser.transformer_blocks, mask):
            return self._predict(inputs)

    def _predict(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        prediction: torch.Tensor = self._denoiser(**inputs, return_dict=False)[0]
        return prediction


class OpenVinoDenoiser:
    """A UNet or an MMDiT as one graph of OpenVINO's, for passes of any shape; see
    ``compile_denoiser``.

    Args:
        denoiser: is not kept.
        threads: of a pass.

    Raises:
        RuntimeError: the package is not installed.
        ValueError: the denoiser is elsewhere, or takes other inputs.
    """

    def __init__(self, denoiser: Any, threads: int) -> None:
        _check(denoiser)
        openvino = _import_openvino()
        self.config = denoiser.config
        self.dtype: torch.dtype = denoiser.dtype
        self.device: torch.device = denoiser.device
        options = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads),
            # Several workers would all pin their threads to the same cores.
            "ENABLE_CPU_PINNING": "NO",
        }
        side = _side(denoiser)
        self._layers = len(getattr(denoiser, "transformer_blocks", ()))
        example = PassShape(_ROWS, side, side, _TOKENS).inputs(denoiser)
        added = tuple(example.get(_NESTED, {}))
        flat = _flat(example)
        if self._layers:
            flat["skipped"] = as_mask({}, _ROWS, self._layers)
        self._names = tuple(flat)
        graph = _convert(openvino, _Traced(denoiser, self._names, added), flat)
        self._request = _core().compile_model(graph, "CPU", options).create_infer_request()

    def __call__(
        self,
        *,
        timestep: torch.Tensor,
        skipped: Skipped = _NOTHING,
        return_dict: Literal[False] = False,
        **inputs: Any,
    ) -> tuple[torch.Tensor]:
        """Make a pass.

        Args:
            timestep: ``[rows]``.
            skipped: layers that rows of an MMDiT leave out.
            inputs: the others that the denoiser takes, by name.

        Raises:
            TypeError: these are not those that it was compiled for.
        """
        flat = {"timestep": timestep, **_flat(inputs)}
        if self._layers:
            flat["skipped"] = as_mask(skipped, len(timestep), self._layers)
        if flat.keys() != set(self._names) or (skipped and not self._layers):
            raise TypeError(f"the graph takes {', '.join(self._names)}, and got {', '.join(flat)}")
        arrays = [flat[name].contiguous().numpy() for name in self._names]
        # The result is copied: some schedulers keep it, and the next pass overwrites it.
        return (torch.from_numpy(self._request.infer(arrays, share_inputs=True)[0]),)


def _check(denoiser: Any) -> None:
    if denoiser.device.type != "cpu" or denoiser.dtype != torch.float32:
        raise ValueError(
            "OpenVINO computes on the CPU in fp32; the model is on "
            f"{denoiser.device.type} in {str(denoiser.dtype).removeprefix('torch.')}"
        )
    embedded = denoiser.config.get("addition_embed_type")
    if embedded not in (None, "text", "text_time"):
        raise ValueError(
            "OpenVINO takes UNets that see latents, a timestep and what those of Stable Diffusion "
            f"are told; this one wants more (addition_embed_type: {embedded!r})"
        )


def _import_openvino() -> Any:
    # It would report every use to a third party. OpenVINO does without where it is missing.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        return import_module("openvino")
    except ImportError as error:
        raise RuntimeError(
            "OpenVINO is not installed: pip install -r requirements-openvino.txt"
        ) from error


@cache
def _core() -> Any:
    """OpenVINO's entry point, one for the life of the process.

    The first compilation of a core gives its thread a stack for signal handlers, which goes with
    the core, and the thread is left without one: the next signal would kill the process.
    """
    return _import_openvino().Core()


def _side(denoiser: Any) -> int:
    """Height and width of the latents to trace with."""
    if "patch_size" in denoiser.config:
        return int(_PATCHES * denoiser.config.patch_size)
    # With an odd size the trace takes sizes on its way up from those on the way down, which is
    # right for all; with an even one it would double them.
    return int(2**denoiser.num_upsamplers + 1)


def _flat(inputs: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Without a mapping in it."""
    flat = dict(inputs)
    flat.update(flat.pop(_NESTED, None) or {})
    return flat


def _free(name: str, example: torch.Tensor) -> list[int]:
    """The shape of an input as the graph has it: -1 for what may differ, which the channels do not.

    Without them passes of an SDXL UNet took up to 1.7 times as long.
    """
    shape = [-1] * example.dim()
    channels = _CHANNELS.get(name)
    if channels is not None:
        shape[channels] = example.shape[channels]
    return shape


def _convert(openvino: Any, traced: _Traced, example: Mapping[str, torch.Tensor]) -> Any:
    """The graph for any number of rows, any size and any number of tokens."""
    with warnings.catch_warnings(), torch.no_grad():
        # The tracer warns of branches, which are the same for all shapes here, and of its age.
        warnings.simplefilter("ignore")
        return openvino.convert_model(
            traced,
            example_input=tuple(example.values()),
            input=[_free(name, each) for name, each in example.items()],
        )
