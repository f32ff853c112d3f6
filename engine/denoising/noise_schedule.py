"""The noise schedule of one job: its diffusers scheduler, and the part of it that is run."""

from __future__ import annotations

import inspect
import math
from functools import cache
from typing import Any

import torch

from contract.request import Segment


class NoiseSchedule:
    """Wraps a diffusers scheduler, so that nothing else depends on what kind it is.

    Solvers keep their history in the scheduler: each job, and each of its segments, has one of its
    own. What is read of a schedule stays on the CPU, so that reading it never waits for the device.

    Args:
        scheduler: fresh, of a diffusion model that predicts noise, the sample or its velocity.
        steps: inference steps of the full schedule, >= 1.
        generator: on the CPU; what the scheduler draws at its steps comes from it.
        strength: of a job that starts from a picture: share of the schedule that is run, > 0.
        segment: the part of the schedule that is run, as diffusers' ``denoising_start`` and
            ``denoising_end`` cut it.
        mu: of schedulers that shift their schedule for each size of picture: by how much.

    Attributes:
        generator: the same; likewise ``steps``.
        full_total: denoiser evaluations of the full schedule.
        offset: those before the part that is run.
        total: those that are run.
    """

    def __init__(
        self,
        scheduler: Any,
        steps: int,
        generator: torch.Generator,
        *,
        strength: float | None = None,
        segment: Segment | None = None,
        mu: float | None = None,
    ) -> None:
        scheduler.set_timesteps(steps, device="cpu", **({} if mu is None else {"mu": mu}))
        self._scheduler = scheduler
        self.generator = generator
        self.steps = steps
        self.full_total = len(scheduler.timesteps)
        self.offset, end = 0, self.full_total
        if strength is not None:
            self._begin(self._skipped(strength) * scheduler.order)
        if segment is not None and segment.start > 0:
            start = self.full_total - self._evaluations_from(segment.start)
            # With little strength, the first segments may have nothing to do.
            self._begin(max(self.offset, start))
        if segment is not None and segment.end < 1:
            cutoff = self._cutoff(segment.end)
            end = sum(timestep >= cutoff for timestep in scheduler.timesteps.tolist())
        self.total = max(0, end - self.offset)
        accepted = _step_parameters(scheduler.__class__)
        self._step_kwargs: dict[str, Any] = {
            name: value
            for name, value in {"eta": 0.0, "generator": generator}.items()
            if name in accepted
        }

    @property
    def left(self) -> int:
        """Evaluations of the full schedule after the part that is run."""
        return self.full_total - self.offset - self.total

    def timestep(self, index: int) -> float:
        """What the denoiser is told at evaluation ``index``."""
        return float(self._timestep(index))

    def noisy(self, index: int) -> bool:
        """Whether the latents before evaluation ``index`` have noise: all but the final ones of the
        full schedule."""
        return self.offset + index < self.full_total

    def start(self, noise: torch.Tensor, image: torch.Tensor | None = None) -> torch.Tensor:
        """The latents to begin with, from noise and, where there is one, a given picture's."""
        if image is None:
            return noise * float(self._scheduler.init_noise_sigma)
        return self.renoise(image, noise, 0)

    def scale(self, latents: torch.Tensor, index: int) -> torch.Tensor:
        """The latents as the denoiser wants to see them at evaluation ``index``."""
        scaled: torch.Tensor = self._scheduler.scale_model_input(latents, self._timestep(index))
        return scaled

    def step(self, prediction: torch.Tensor, latents: torch.Tensor, index: int) -> torch.Tensor:
        """The latents after evaluation ``index``."""
        following: torch.Tensor = self._scheduler.step(
            prediction, self._timestep(index), latents, **self._step_kwargs, return_dict=False
        )[0]
        return following

    def renoise(self, image: torch.Tensor, noise: torch.Tensor, index: int) -> torch.Tensor:
        """A picture's latents with as much noise as those before evaluation ``index``."""
        # The scheduler says how much of each on the CPU. Given latents on another device, it would
        # move its own state there, and each reading of it would wait for the device from then on.
        one, zero = torch.ones(1), torch.zeros(1)
        timestep = self._timestep(index)[None]
        signal = float(self._scheduler.add_noise(one, zero, timestep))
        amount = float(self._scheduler.add_noise(zero, one, timestep))
        return signal * image + amount * noise

    def predict_original(
        self, prediction: torch.Tensor, sample: torch.Tensor, index: int
    ) -> torch.Tensor:
        """The final latents, as evaluation ``index`` foresees them: the predicted original sample.

        Of a sample that keeps its variance, as denoisers see them: Song et al. (2021),
        https://arxiv.org/abs/2010.02502, equation 9, and for v-prediction Salimans & Ho (2022),
        https://arxiv.org/abs/2202.00512, appendix D.
        """
        kind = self._scheduler.config.prediction_type
        if kind == "sample":
            return prediction
        alpha = float(self._scheduler.alphas_cumprod[round(self.timestep(index))])
        signal, noise = math.sqrt(alpha), math.sqrt(1 - alpha)
        if kind == "v_prediction":
            return signal * sample - noise * prediction
        return (sample - noise * prediction) / signal

    def _skipped(self, strength: float) -> int:
        """The steps before the first of a job of this strength, as the stock pipelines count: in
        whole steps from the end."""
        return max(self.steps - min(int(self.steps * strength), self.steps), 0)

    def _timestep(self, index: int) -> torch.Tensor:
        timestep: torch.Tensor = self._scheduler.timesteps[self.offset + index]
        return timestep

    def _begin(self, offset: int) -> None:
        self.offset = offset
        if hasattr(self._scheduler, "set_begin_index"):
            self._scheduler.set_begin_index(offset)

    def _cutoff(self, fraction: float) -> int:
        """The training timestep at a fraction of the schedule."""
        trained: int = self._scheduler.config.num_train_timesteps
        return round(trained - fraction * trained)

    def _evaluations_from(self, fraction: float) -> int:
        cutoff = self._cutoff(fraction)
        count: int = sum(timestep < cutoff for timestep in self._scheduler.timesteps.tolist())
        # Second-order solvers have two evaluations a step: a cut within one does it all again.
        if self._scheduler.order == 2 and count % 2 == 0:
            count += 1
        return count


@cache
def _step_parameters(scheduler_class: Any) -> frozenset[str]:
    """The names of the arguments of ``step``, which differ."""
    return frozenset(inspect.signature(scheduler_class.step).parameters)
