"""Denoisers made faster by a compiler: the same rows in, the same predictions out.

``openvino`` is for CPUs in fp32, ``inductor``, torch's own, for CUDA; on CPUs that gains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from diffusers import UNet2DConditionModel

from engine.pipelines.inductor_unet import InductorUNet, PassShape
from engine.pipelines.openvino_unet import OpenVinoUNet

CompilerName = Literal["none", "inductor", "openvino"]


def compile_unet(
    unet: Any,
    compiler: CompilerName,
    *,
    threads: int,
    warm: Sequence[PassShape] = (),
    aside: bool = True,
) -> Any:
    """Make passes of a UNet faster.

    Args:
        unet: a loaded ``diffusers.UNet2DConditionModel`` in channels_last; its weights must not
            change afterwards.
        compiler: see the module; ``none`` returns the UNet, or any other denoiser, as it is.
        threads: CPU threads of OpenVINO, which has its own; and those that Inductor's shapes are
            warmed for.
        warm: shapes of passes that have no compiler to wait for afterwards.
        aside: whether Inductor also compiles, in a thread of its own, the other shapes that it
            meets. Until then, and without, a pass of such a shape runs uncompiled.

    Returns:
        What can be called as ``unet(sample, timestep, encoder_hidden_states=...,
        return_dict=False)[0]`` with a timestep per row, and has the UNet's ``config``, ``dtype``
        and ``device``. OpenVINO's takes one call at a time; Inductor's also takes the
        ``added_cond_kwargs`` of SDXL.

    Raises:
        RuntimeError: the package is not installed, or a shape to be warmed cannot be compiled.
        ValueError: the compiler cannot take this UNet, or not on this device or in this precision.
    """
    if compiler != "none" and not isinstance(unet, UNet2DConditionModel):
        raise ValueError(f"{compiler} compiles UNets only, and not a {type(unet).__name__}")
    if compiler == "openvino":
        graph = OpenVinoUNet(unet, threads)
        with torch.inference_mode():
            for shape in warm:
                graph(*shape.inputs(graph), **shape.conditioning(graph))
        return graph
    if compiler == "inductor":
        return InductorUNet(unet, threads=threads, warm=warm, aside=aside)
    return unet
