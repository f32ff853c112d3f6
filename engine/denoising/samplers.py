"""Samplers: the diffusers scheduler behind each short name, made for each job.

A scheduler keeps its position, and many keep a history of predictions, so two jobs never share one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from diffusers.schedulers.scheduling_flow_match_heun_discrete import FlowMatchHeunDiscreteScheduler
from diffusers.schedulers.scheduling_heun_discrete import HeunDiscreteScheduler
from diffusers.schedulers.scheduling_lcm import LCMScheduler
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

from models.architectures import SCHEDULERS, SchedulerName, schedulers_of


@dataclass(frozen=True, slots=True)
class Sampler:
    """A diffusers scheduler class and the options that its short name stands for."""

    scheduler_class: type[Any]
    options: dict[str, Any] = field(default_factory=dict)

    def create(self, config: Any) -> Any:
        """Build a scheduler for one job from the model's own scheduler config."""
        return self.scheduler_class.from_config(config, **self.options)


# skip_prk_steps as every released Stable Diffusion has it: without it PNDM spends nine extra
# evaluations on its Runge-Kutta start.
_SAMPLERS: Final[dict[SchedulerName, Sampler]] = {
    "ddim": Sampler(DDIMScheduler),
    "euler": Sampler(EulerDiscreteScheduler),
    # As distilled models (SDXL Lightning) want it, whose LoRAs come without a config.
    "euler_trailing": Sampler(EulerDiscreteScheduler, {"timestep_spacing": "trailing"}),
    "euler_a": Sampler(EulerAncestralDiscreteScheduler),
    "dpmpp_2m": Sampler(DPMSolverMultistepScheduler, {"use_karras_sigmas": False}),
    "dpmpp_2m_karras": Sampler(DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
    "unipc": Sampler(UniPCMultistepScheduler),
    "pndm": Sampler(PNDMScheduler, {"skip_prk_steps": True}),
    "lcm": Sampler(LCMScheduler),
    "heun": Sampler(HeunDiscreteScheduler),
}
_FLOW_SAMPLERS: Final[dict[SchedulerName, Sampler]] = {
    "euler": Sampler(FlowMatchEulerDiscreteScheduler),
    "heun": Sampler(FlowMatchHeunDiscreteScheduler),
}
# A name of the table that has no class here is an error at once, not in somebody's request.
SAMPLERS: Final[dict[str, Sampler]] = {name: _SAMPLERS[name] for name in SCHEDULERS}
# Of models that were trained by flow matching.
FLOW_SAMPLERS: Final[dict[str, Sampler]] = {
    name: _FLOW_SAMPLERS[name] for name in schedulers_of("flow")
}
