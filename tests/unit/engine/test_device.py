"""Time on the device, and its loss."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from contract.errors import ErrorCode, RequestError
from engine.denoising.state import DenoisingState
from engine.device import is_fatal
from engine.engine import Engine
from engine.weights.cache import WeightCache
from tests.conftest import ROOT, make_request
from tests.unit.engine.conftest import Client, Gate, Recorder
from tests.unit.engine.toy import Toy

ILLEGAL = "CUDA error: an illegal memory access was encountered"


class Device:
    """A device of which each piece of work takes two seconds of its own time."""

    def __init__(self) -> None:
        self.launched = self.finished = 0
        self.ahead: list[int] = []

    def stopwatch(self, device: str) -> Device.Work:
        return Device.Work(self)

    class Work:
        def __init__(self, device: Device) -> None:
            self._device = device

        def stop(self) -> None:
            self._device.launched += 1
            self._device.ahead.append(self._device.launched - self._device.finished)

        def done(self) -> bool:
            return False

        def seconds(self) -> float:
            self._device.finished += 1
            return 2.0


def test_the_engine_is_never_more_than_one_pass_ahead_of_its_device(
    monkeypatch: pytest.MonkeyPatch, recorder: Recorder
) -> None:
    device = Device()
    monkeypatch.setattr("engine.loop.stopwatch", device.stopwatch)
    engine = Engine(WeightCache.preloaded({"embedded": Toy()}), observer=recorder)
    Client(engine, make_request(num_inference_steps=20)).image()
    engine.close()
    assert max(device.ahead) == 2
    assert {done.seconds for done in recorder.passes} == {2.0}, "the device's time, not the call's"
    assert len(recorder.passes) == 20
    assert device.launched == device.finished, "nothing is left unmeasured when it is idle"


def test_which_errors_are_fatal() -> None:
    for message in (ILLEGAL, "CUDA error: device-side assert triggered"):
        assert is_fatal(RuntimeError(message))
    assert not is_fatal(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_fatal(RuntimeError("shapes do not match"))
    assert not is_fatal(ValueError(ILLEGAL))


class Lost:
    """What happens when the device is lost, in its order."""

    def __init__(self) -> None:
        self.ready: list[bool] = []
        self.called = threading.Event()
        self.engine: Engine | None = None

    def __call__(self) -> None:
        assert self.engine is not None
        self.ready.append(self.engine.ready)
        self.called.set()


def test_a_fatal_error_ends_every_job_and_then_the_process() -> None:
    toy, lost = Toy(), Lost()
    engine = lost.engine = Engine(WeightCache.preloaded({"embedded": toy}), on_device_lost=lost)
    assert engine.ready
    toy.fault = RuntimeError(ILLEGAL)
    clients = [Client(engine, make_request(seed=seed, num_images=3)) for seed in range(3)]
    for client in clients:
        failed = client.failed()
        assert failed.code is ErrorCode.NOT_READY
        assert "illegal" not in failed.message
        assert failed.retry_after
    assert lost.called.wait(10)
    assert lost.ready == [False]
    with pytest.raises(RequestError) as refusal:
        engine.submit(make_request(), lambda event: None)
    assert refusal.value.code is ErrorCode.NOT_READY
    engine.close()


def test_a_fault_of_earlier_work_that_comes_out_of_any_call_ends_every_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device, lost = Device(), Lost()

    def broken(work: Device.Work) -> bool:
        raise RuntimeError(ILLEGAL)

    monkeypatch.setattr("engine.loop.stopwatch", device.stopwatch)
    monkeypatch.setattr(Device.Work, "done", broken)
    engine = lost.engine = Engine(WeightCache.preloaded({"embedded": Toy()}), on_device_lost=lost)
    for client in [Client(engine, make_request(seed=seed)) for seed in range(3)]:
        assert client.failed().code is ErrorCode.NOT_READY
    assert lost.called.wait(10)
    engine.close()


def test_jobs_end_when_the_engine_is_closed_in_a_pass_that_does_not_end(
    gate: Gate,
) -> None:
    engine = Engine(WeightCache.preloaded({"embedded": gate}))
    client = Client(engine, make_request())
    assert gate.entered.wait(60)
    closing = threading.Thread(target=engine.close)
    closing.start()
    assert client.failed().code is ErrorCode.NOT_READY
    assert closing.is_alive(), "the pass is still under way"
    gate.open.set()
    closing.join(60)
    assert not closing.is_alive()


def test_a_pass_that_never_ends_is_noticed() -> None:
    toy, lost = Toy(), Lost()
    hang = threading.Event()

    def forward(states: Sequence[DenoisingState], rows: int) -> Any:
        hang.wait(60)
        return [state.scaled_latents() for state in states]

    toy.forward = forward  # type: ignore[method-assign]
    engine = lost.engine = Engine(
        WeightCache.preloaded({"embedded": toy}), stuck_seconds=0.3, on_device_lost=lost
    )
    client = Client(engine, make_request())
    assert client.failed().code is ErrorCode.NOT_READY
    assert lost.called.wait(10)
    assert lost.ready == [False]
    engine.close()
    hang.set()


def test_passes_that_end_are_not_taken_for_stuck() -> None:
    lost = Lost()
    engine = lost.engine = Engine(
        WeightCache.preloaded({"embedded": Toy()}), stuck_seconds=2.0, on_device_lost=lost
    )
    for _ in range(5):
        Client(engine, make_request(num_inference_steps=50)).image()
    assert engine.ready
    engine.close()


PROGRAM = f"""
from assembly.engine import end_process
from engine.engine import Engine
from engine.weights.cache import WeightCache
from tests.conftest import make_request
from tests.unit.engine.conftest import Client
from tests.unit.engine.toy import Toy
import time
toy = Toy()
engine = Engine(WeightCache.preloaded({{"embedded": toy}}), on_device_lost=end_process)
toy.fault = RuntimeError("{ILLEGAL}")
print(Client(engine, make_request()).failed().code, flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_a_process_whose_device_is_lost_ends_after_its_clients_were_told() -> None:
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert process.stdout.split() == ["not_ready"]
    assert process.returncode == 69
    assert "the device is lost" in process.stderr
