"""Denoisers made faster by a compiler: the same rows in, the same predictions out.

``openvino`` is for CPUs in fp32, ``inductor``, torch's own, for CUDA; on CPUs that gains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from diffusers import UNet2DConditionModel

from engine.pipelines.inductor_unet import InductorUNet
from engine.pipelines.openvino_denoiser import OpenVinoDenoiser
from engine.pipelines.pass_shape import PassShape

CompilerName = Literal["none", "inductor", "openvino"]


def compile_denoiser(
    denoiser: Any,
    compiler: CompilerName,
    *,
    threads: int,
    warm: Sequence[PassShape] = (),
    aside: bool = True,
) -> Any:
    """Make passes of a denoiser faster.

    Args:
        denoiser: a loaded ``diffusers.UNet2DConditionModel`` in channels_last, or a
            ``SD3Transformer2DModel``; its weights must not change afterwards.
        compiler: see the module; ``none`` returns the denoiser as it is.
        threads: CPU threads of OpenVINO, which has its own; and those that Inductor's shapes are
            warmed for.
        warm: shapes of passes that have no compiler to wait for afterwards.
        aside: whether Inductor also compiles, in a thread of its own, the other shapes that it
            meets. Until then, and without, a pass of such a shape runs uncompiled.

    Returns:
        What can be called as ``denoiser(**inputs, return_dict=False)[0]`` with a timestep per row,
        and has the denoiser's ``config``, ``dtype`` and ``device``. OpenVINO's takes one call at a
        time, and an MMDiT's in it also ``skipped``, see ``OpenVinoDenoiser``.

    Raises:
        RuntimeError: the package is not installed, or a shape to be warmed cannot be compiled.
        ValueError: the compiler cannot take this denoiser, or not on this device or in this
            precision.
    """
    if compiler == "openvino":
        graph = OpenVinoDenoiser(denoiser, threads)
        with torch.inference_mode():
            for shape in warm:
                graph(**shape.inputs(graph))
        return graph
    if compiler == "inductor":
        if not isinstance(denoiser, UNet2DConditionModel):
            raise ValueError(f"inductor compiles UNets only, and not a {type(denoiser).__name__}")
        return InductorUNet(denoiser, threads=threads, warm=warm, aside=aside)
    return denoiser
