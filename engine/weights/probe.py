"""The probe of a GPU's memory: how large a denoiser pass may be, which depends on the model, the
kernels and the free memory."""

from __future__ import annotations

import torch

from contract.request import GenerationRequest, Segment
from engine.pipelines.base import DiffusionModel, SegmentRequest

PROBE_ROWS = 8
# The rest is for the decoder, for fragmentation, and for pictures of other sizes than the probe's.
SHARE = 0.6


def affordable_pixels(model: DiffusionModel, request: GenerationRequest) -> int:
    """Rows x picture pixels of a pass that fit into the free memory of the CUDA device.

    Args:
        model: one on that device.
        request: a picture of a typical size, whose memory is scaled by rows and pixels.
    """
    with torch.inference_mode():
        (state,) = model.prepare([SegmentRequest(request, Segment(request.model))])
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        model.forward([state], PROBE_ROWS)
        torch.cuda.synchronize()
    used = torch.cuda.max_memory_allocated() - before
    free, _ = torch.cuda.mem_get_info()
    probed = PROBE_ROWS * request.width * request.height
    return max(probed, int(free * SHARE / used * probed))
