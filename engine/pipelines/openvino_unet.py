"""The UNet in OpenVINO, for CPUs in fp32 (``requirements-openvino.txt``): one graph for passes of
any shape, in which a row does not depend on its neighbours to the last bit.

Milliseconds of a pass of the embedded model, one thread, minima of interleaved runs, against torch
in channels_last:

========  ====  ====  ====  ====  ====
rows         1     2     4     8    16
========  ====  ====  ====  ====  ====
torch     17.9  23.8  32.6  52.4  96.4
openvino   8.4  12.6  21.5  40.1  78.6
========  ====  ====  ====  ====  ====

With two threads it is 2.3, 2.0, 2.2 and 1.5 times as fast at 2, 4, 8 and 16 rows; with latents
of 32 x 32, 1.15 to 1.28 times. Pictures are within 1 of 255 of torch's; it takes another 240 MB.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from typing import Any, Literal

import torch


class _Traced(torch.nn.Module):
    """A UNet with positional arguments and a tensor for its result, as the tracer wants it."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self._unet = unet

    def forward(
        self, sample: torch.Tensor, timestep: torch.Tensor, encoder_hidden_states: torch.Tensor
    ) -> torch.Tensor:
        prediction: torch.Tensor = self._unet(
            sample, timestep, encoder_hidden_states=encoder_hidden_states, return_dict=False
        )[0]
        return prediction


class OpenVinoUNet:
    """A UNet as one graph of OpenVINO's, for passes of any shape; see ``compile_unet``."""

    def __init__(self, unet: Any, threads: int) -> None:
        _check(unet)
        openvino = _import_openvino()
        self.config = unet.config
        self.dtype: torch.dtype = unet.dtype
        self.device: torch.device = unet.device
        options = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads),
            # Several workers would all pin their threads to the same cores.
            "ENABLE_CPU_PINNING": "NO",
        }
        compiled = openvino.Core().compile_model(_convert(openvino, unet), "CPU", options)
        self._request = compiled.create_infer_request()

    def __call__(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        *,
        encoder_hidden_states: torch.Tensor,
        return_dict: Literal[False] = False,
    ) -> tuple[torch.Tensor]:
        inputs = [
            tensor.contiguous().numpy() for tensor in (sample, timestep, encoder_hidden_states)
        ]
        # The result is copied: some schedulers keep it, and the next pass overwrites it.
        return (torch.from_numpy(self._request.infer(inputs, share_inputs=True)[0]),)


def _check(unet: Any) -> None:
    if unet.device.type != "cpu" or unet.dtype != torch.float32:
        raise ValueError(
            "OpenVINO computes on the CPU in fp32; the model is on "
            f"{unet.device.type} in {str(unet.dtype).removeprefix('torch.')}"
        )
    if unet.config.addition_embed_type not in (None, "text"):
        raise ValueError(
            "OpenVINO takes UNets that see latents, a timestep and a text; this one wants more "
            f"(addition_embed_type: {unet.config.addition_embed_type!r})"
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


def _convert(openvino: Any, unet: Any) -> Any:
    """The UNet for any number of rows, any size and any number of tokens."""
    channels, dim = unet.config.in_channels, unet.config.cross_attention_dim
    # With an odd size the trace takes sizes on its way up from those on the way down, which is
    # right for all; with an even one it would double them.
    side = 2**unet.num_upsamplers + 1
    example = {
        "sample": torch.zeros(2, channels, side, side),
        "timestep": torch.zeros(2),
        "encoder_hidden_states": torch.zeros(2, 77, dim),
    }
    with warnings.catch_warnings(), torch.no_grad():
        # The tracer warns of branches, which are the same for all shapes here, and of its age.
        warnings.simplefilter("ignore")
        return openvino.convert_model(
            _Traced(unet),
            example_input=example,
            input=[
                ("sample", [-1, channels, -1, -1]),
                ("timestep", [-1]),
                ("encoder_hidden_states", [-1, -1, dim]),
            ],
        )
