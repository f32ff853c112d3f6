"""Models of several families in one engine: no pass is of two of them, and all get the device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import pytest

from contract.request import GenerationRequest
from engine.engine import Engine
from engine.pipelines.base import DiffusionModel
from engine.pipelines.stable_diffusion import StableDiffusion
from engine.pipelines.stable_diffusion_3 import StableDiffusion3
from engine.pipelines.stable_diffusion_xl import StableDiffusionXL
from engine.weights.cache import WeightCache
from tests.conftest import make_request
from tests.unit.engine.conftest import Client, Recorder, pixels
from tests.unit.models import tiny

STEPS = 6
EACH = 2


@pytest.fixture(scope="module")
def models() -> Mapping[str, DiffusionModel]:
    return {
        "sd1": StableDiffusion(tiny.stable_diffusion()),
        "sdxl": StableDiffusionXL(tiny.sdxl(refiner=False)),
        "sd3": StableDiffusion3(tiny.sd3(newer=True)),
    }


@pytest.fixture
def engine(models: Mapping[str, DiffusionModel], recorder: Recorder) -> Iterator[Engine]:
    engine = Engine(WeightCache.preloaded(models), observer=recorder)
    yield engine
    engine.close()


def requests() -> list[GenerationRequest]:
    """For each family the same, one family after the other."""
    return [
        make_request(
            request_id=f"{model}-{seed}",
            model=model,
            width=32,
            height=32,
            seed=seed,
            num_inference_steps=STEPS + seed,
            scheduler="euler",
            skip_layers=(1,) if model == "sd3" and seed else (),
        )
        for model in ("sd1", "sdxl", "sd3")
        for seed in range(EACH)
    ]


def test_they_never_share_a_pass_and_none_waits_for_another(
    engine: Engine, recorder: Recorder
) -> None:
    alone = [Client(engine, request).image() for request in requests()]
    recorder.passes.clear()
    clients = [Client(engine, request) for request in requests()]
    together = [client.image() for client in clients]
    for one, other in zip(alone, together, strict=True):
        assert max(abs(a - b) for a, b in zip(pixels(one), pixels(other), strict=True)) <= 1
    for done in recorder.passes:
        assert {name.partition("-")[0] for name in done.jobs} == {done.model}
    assert max(recorder.batches) == EACH
    # Until the first family has nothing left to do, each has had a part of the passes.
    last = {done.model: number for number, done in enumerate(recorder.passes)}
    shared = Counter(done.model for done in recorder.passes[: min(last.values())])
    assert min(shared.values()) >= 2
    assert len(shared) == len(last) == 3


def test_what_a_family_does_not_know_is_refused_and_hurts_no_other(engine: Engine) -> None:
    wrong = make_request(model="sd1", skip_layers=(1,), width=32, height=32)
    right = make_request(model="sd3", scheduler="euler", width=32, height=32, num_inference_steps=2)
    clients = [Client(engine, request) for request in (wrong, right)]
    assert clients[0].failed().field == "skip_layers"
    assert clients[1].image().width == 32


def test_what_sd3_warns_of_reaches_the_client(engine: Engine) -> None:
    request = make_request(model="sd3", scheduler="euler", width=32, height=32)
    (warning,) = Client(engine, request).image().warnings
    assert "without T5" in warning
