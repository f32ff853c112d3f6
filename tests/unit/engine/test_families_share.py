"""Models of three families on one device of known speed: what each gets of it."""

from __future__ import annotations

from collections import Counter
from itertools import count, pairwise

import pytest
import torch

from contract.request import GenerationRequest
from engine.job import Job
from engine.limits import BatchLimits
from engine.pipelines.base import DiffusionModel
from engine.pipelines.stable_diffusion import StableDiffusion
from engine.pipelines.stable_diffusion_3 import StableDiffusion3
from engine.pipelines.stable_diffusion_xl import StableDiffusionXL
from engine.plan import Plan, Stage
from engine.scheduler import Scheduler
from tests.conftest import make_request
from tests.unit.engine.jobs import Weights
from tests.unit.engine.reference import denoise
from tests.unit.models import tiny

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

# Seconds of a pass with one row: of the families' models in use, the largest are the slowest.
SECONDS = {"sd1": 0.01, "xl": 0.08, "sd3": 0.03}
JOBS = 3  # of each family at any time
LIMITS = BatchLimits(rows=8, buckets=(1, 2, 4, 8))


@pytest.fixture(scope="module")
def models() -> dict[str, DiffusionModel]:
    return {
        "sd1": StableDiffusion(tiny.stable_diffusion()),
        "xl": StableDiffusionXL(tiny.sdxl(refiner=False)),
        "sd3": StableDiffusion3(tiny.sd3()),
    }


def seconds_of(plan: Plan) -> float:
    """Rows are cheaper together; what is no pass is cheap."""
    if plan.stage is not Stage.DENOISE:
        return 0.1 * SECONDS[plan.model]
    return SECONDS[plan.model] * (0.7 + 0.3 * plan.rows)


class Device:
    """Carries plans out with the models; their time is that of ``SECONDS``."""

    def __init__(self, models: dict[str, DiffusionModel], *, own_tenants: bool) -> None:
        self.scheduler = Scheduler(LIMITS, Weights())
        self.plans: list[Plan] = []
        self.spent = 0.0
        self.done: list[tuple[GenerationRequest, torch.Tensor]] = []
        self._models = models
        self._own_tenants = own_tenants
        self._seeds = count()
        self._moments = count()

    def ask(self, name: str) -> None:
        """A picture of a model, of its own length, guidance and prompt."""
        seed = next(self._seeds)
        request = make_request(
            model=name,
            tenant=name if self._own_tenants else "all",
            width=32,
            height=32,
            seed=seed,
            prompt=("a red apple", "a house on a hill")[seed % 2],
            guidance_scale=(1.0, 5.0)[seed // 2 % 2],
            num_inference_steps=2 + seed % 4,
            scheduler="euler",
            deadline=3600.0,
        )
        self.scheduler.add([Job(request, 0, lambda event: None)])

    def turn(self) -> None:
        plan = self.scheduler.next()
        assert plan is not None
        model = self._models[plan.model]
        match plan.stage:
            case Stage.ENCODE:
                for job, state in zip(
                    plan.jobs, model.prepare([job.wanted for job in plan.jobs]), strict=True
                ):
                    job.state = state
                self.scheduler.admitted(plan.jobs)
            case Stage.DENOISE:
                predictions = model.forward([job.denoising for job in plan.jobs], plan.rows)
                for job, prediction in zip(plan.jobs, predictions, strict=True):
                    job.denoising.advance(prediction)
                    job.served_at = next(self._moments)
                    self.scheduler.advanced(job)
            case Stage.DECODE:
                self.scheduler.remove(plan.jobs)
                for job in plan.jobs:
                    self.done.append((job.request, job.denoising.latents))
                    self.ask(job.model)
        seconds = seconds_of(plan)
        self.plans.append(plan)
        self.spent += seconds
        self.scheduler.took(plan, seconds)


@pytest.fixture(scope="module", params=[False, True], ids=["one client", "a client each"])
def device(request: pytest.FixtureRequest, models: dict[str, DiffusionModel]) -> Device:
    busy = Device(models, own_tenants=request.param)
    for _ in range(JOBS):
        for name in models:
            busy.ask(name)
    with torch.inference_mode():
        while busy.spent < 8:
            busy.turn()
    return busy


def test_no_pass_has_jobs_of_two_families(device: Device) -> None:
    assert all({job.model for job in plan.jobs} == {plan.model} for plan in device.plans)
    shared = {
        plan.model for plan in device.plans if plan.stage is Stage.DENOISE and len(plan.jobs) > 1
    }
    assert shared == set(SECONDS), "those of each do share passes"


def test_each_family_gets_its_third_of_the_time(device: Device) -> None:
    """As each has as many pictures, however slow its passes are: those of the fastest come the
    most often."""
    done = [plan for plan in device.plans if plan.stage is Stage.DENOISE]
    seconds = [sum(seconds_of(plan) for plan in done if plan.model == name) for name in SECONDS]
    each = [
        sum(seconds_of(plan) / len(plan.jobs) for plan in done if plan.model == name)
        for name in SECONDS
    ]
    # The passes of the slowest are an eighth of its third.
    assert min(each) > 0.85 * max(each), "for each picture in them"
    # Those of the fastest have fewer of its pictures: more of them are prepared or decoded.
    assert min(seconds) > 0.6 * max(seconds)
    passes = Counter(plan.model for plan in done)
    assert passes["sd1"] > passes["sd3"] > passes["xl"]


def test_no_family_waits_for_all_pictures_of_another(device: Device) -> None:
    """Between two passes of a family is no more than the turns of the other two, and what they had
    less before."""
    bound = 4 * max(seconds_of(plan) for plan in device.plans)
    for name in SECONDS:
        turns = [
            index
            for index, plan in enumerate(device.plans)
            if plan.model == name and plan.stage is Stage.DENOISE
        ]
        for first, second in pairwise(turns):
            between = device.plans[first + 1 : second]
            assert sum(seconds_of(plan) for plan in between) <= bound


def test_company_changes_no_picture(device: Device, models: dict[str, DiffusionModel]) -> None:
    for name, model in models.items():
        request, latents = [each for each in device.done if each[0].model == name][-1]
        (alone,) = denoise(model, [request])
        difference = (latents - alone.latents).abs().max() / alone.latents.abs().max()
        assert difference < 1e-4
