"""How large a denoiser pass may be on a GPU: measured, as it depends on model, kernels and free
memory."""

from __future__ import annotations

import torch

from contract.request import GenerationRequest
from engine.pipelines.base import DiffusionModel

PROBE_ROWS = 8
# The rest is for the decoder, for fragmentation, and for pictures of other sizes than the probe's.
SHARE = 0.6


def affordable_pixels(family: DiffusionModel, request: GenerationRequest) -> int:
    """Rows x picture pixels of a pass that fit into the free memory of the CUDA device.

    Args:
        family: a model on that device.
        request: a picture of a typical size, whose memory is scaled by rows and pixels.
    """
    with torch.inference_mode():
        (state,) = family.prepare([request])
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        family.forward([state], PROBE_ROWS)
        torch.cuda.synchronize()
    used = torch.cuda.max_memory_allocated() - before
    free, _ = torch.cuda.mem_get_info()
    probed = PROBE_ROWS * request.width * request.height
    return max(probed, int(free * SHARE / used * probed))
