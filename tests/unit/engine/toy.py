"""A diffusion model without a network: what the engine does around it is real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import PIL.Image
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from engine.denoising.conditioning import Conditioning
from engine.denoising.guidance import Guidance
from engine.denoising.noise_schedule import NoiseSchedule
from engine.denoising.state import DenoisingState
from engine.lora.adapter import Adapter
from engine.pipelines.base import NO_ADAPTERS, SegmentRequest


class Toy:
    """Predicts the noise that is there.

    Attributes:
        fault: what the next pass raises, once.
    """

    def __init__(self) -> None:
        self.latent_scale = 8
        self.fault: Exception | None = None

    def load_adapter(self, folder: Path) -> Adapter:
        return Adapter({})

    def prepare(
        self, wanted: Sequence[SegmentRequest], adapters: Mapping[str, Adapter] = NO_ADAPTERS
    ) -> list[DenoisingState]:
        return [self._prepare(each) for each in wanted]

    def _prepare(self, wanted: SegmentRequest) -> DenoisingState:
        request, handover = wanted.request, wanted.handover
        if request.prompt == "unpreparable":
            raise ValueError("the prompt cannot be encoded")
        generator = torch.Generator() if handover is None else handover.generator
        rows = 2 if request.guidance_scale > 1 else 1
        return DenoisingState(
            latents=torch.ones(1, 1, request.height // 8, request.width // 8)
            if handover is None
            else handover.latents,
            conditioning=Conditioning({"encoder_hidden_states": torch.zeros(rows, 1, 1)}),
            guidance=Guidance(request.guidance_scale),
            schedule=NoiseSchedule(
                DDIMScheduler(), request.num_inference_steps, generator, segment=wanted.segment
            ),
        )

    def forward(self, states: Sequence[DenoisingState], rows: int) -> list[torch.Tensor]:
        fault, self.fault = self.fault, None
        if fault is not None:
            raise fault
        assert rows >= sum(state.rows for state in states)
        return [state.scaled_latents() for state in states]

    def decode(self, states: Sequence[DenoisingState]) -> list[PIL.Image.Image | ArithmeticError]:
        return [PIL.Image.new("RGB", (8, 8)) for _ in states]

    def preview(self, state: DenoisingState) -> PIL.Image.Image:
        return PIL.Image.new("RGB", (1, 1))
