"""Inductor compiles beside the passes, never in one."""

from __future__ import annotations

import gc
import logging
import shutil
import weakref
from collections.abc import Iterator, Sequence
from threading import Thread
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters
from torch.profiler import profile

from engine.pipelines import inductor_unet
from engine.pipelines.compile import compile_denoiser
from engine.pipelines.inductor_unet import InductorUNet
from engine.pipelines.pass_shape import PassShape
from tests.effort import only_in_full
from tests.unit.engine.pipelines import passes
from tests.unit.models import tiny

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="Inductor needs a C compiler")

# Two coincide in rows and pixels, or in tokens and pixels; one has odd sides.
SHAPES = [
    PassShape(2, 8, 8, 77),
    PassShape(1, 8, 8, 77),
    PassShape(4, 8, 16, 77),
    PassShape(6, 16, 16, 77),
    PassShape(2, 8, 8, 154),
    PassShape(1, 16, 8, 154),
    PassShape(16, 4, 4, 77),
    PassShape(3, 7, 11, 77),
    PassShape(1, 7, 22, 77),
]
THREADS = 1


@pytest.fixture(autouse=True)
def _nothing_is_compiled_yet() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)
    torch._dynamo.reset()


@pytest.fixture
def unet() -> Any:
    unet = tiny.stable_diffusion().unet.to(memory_format=torch.channels_last)
    return unet.eval().requires_grad_(False)


def predict(unet: Any, shape: PassShape) -> torch.Tensor:
    # As in the engine: a graph that is compiled for inference takes no other tensors.
    with torch.inference_mode():
        return passes.predict(unet, passes.random_inputs(unet, shape))


def compiled_blocks(unet: Any, shape: PassShape) -> int:
    """Blocks of one pass that run compiled."""
    with profile() as record:
        predict(unet, shape)
    return sum(event.name.startswith("Torch-Compiled Region") for event in record.events())


def graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


def assert_same(unet: Any, compiled: InductorUNet, shapes: Sequence[PassShape]) -> None:
    for shape in shapes:
        assert torch.allclose(predict(compiled, shape), predict(unet, shape), atol=1e-4)


def test_no_pass_compiles_whatever_its_shape(unet: Any) -> None:
    compiled = compile_denoiser(unet, "inductor", threads=THREADS, aside=False)
    assert_same(unet, compiled, SHAPES)
    assert graphs() == 0
    assert compiled_blocks(compiled, SHAPES[0]) == 0


@only_in_full
@pytest.mark.slow
def test_a_shape_runs_compiled_once_it_was_compiled_aside(unet: Any) -> None:
    compiled = compile_denoiser(unet, "inductor", threads=THREADS)
    predict(compiled, SHAPES[0])
    assert compiled.wait(60)

    for shape in SHAPES:
        assert_same(unet, compiled, [shape])
        assert compiled.wait(60)
        assert compiled.compiled(shape, THREADS)
    before = graphs()
    assert [compiled_blocks(compiled, shape) for shape in SHAPES[:3]] == [4, 4, 4]
    assert_same(unet, compiled, SHAPES)
    assert graphs() == before > 0


@only_in_full
@pytest.mark.slow
def test_what_sdxl_is_told_goes_along() -> None:
    unet = tiny.sdxl(refiner=False).unet.to(memory_format=torch.channels_last)
    unet = unet.eval().requires_grad_(False)
    compiled = compile_denoiser(unet, "inductor", threads=THREADS, warm=SHAPES[:1], aside=False)
    assert compiled_blocks(compiled, SHAPES[0]) == 4
    assert_same(unet, compiled, SHAPES[:2])


@only_in_full
def test_passes_go_on_while_shapes_are_compiled(unet: Any) -> None:
    shapes = SHAPES[:3]
    expected = [predict(unet, shape) for shape in shapes]
    compiled = compile_denoiser(unet, "inductor", threads=THREADS)
    failures: list[Exception] = []
    waited: list[bool] = []
    done = 0

    def passes() -> None:
        nonlocal done
        torch.set_num_threads(THREADS)
        try:
            while done < len(shapes) or not compiled.wait(0):
                prediction = predict(compiled, shapes[done % len(shapes)])
                waited.append(compiled.compiled(shapes[done % len(shapes)], THREADS))
                assert torch.allclose(prediction, expected[done % len(shapes)], atol=1e-4)
                done += 1
        except Exception as error:
            failures.append(error)

    thread = Thread(target=passes)
    thread.start()
    thread.join(120)
    assert not failures
    assert not all(waited[: len(shapes)])
    assert all(compiled.compiled(shape, THREADS) for shape in shapes)


def test_a_pass_does_not_mind_that_another_thread_traces(
    unet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = compile_denoiser(unet, "inductor", threads=THREADS, aside=False)
    monkeypatch.setattr(torch.fx._symbolic_trace, "_is_fx_tracing_flag", True)
    assert_same(unet, compiled, SHAPES[:2])


@only_in_full
def test_warm_shapes_are_compiled_from_the_start_and_leave_with_the_unet() -> None:
    unet = tiny.stable_diffusion().unet.to(memory_format=torch.channels_last)
    unet.eval().requires_grad_(False)
    warm = SHAPES[0]
    compiled = compile_denoiser(unet, "inductor", threads=THREADS, warm=[warm], aside=False)
    assert compiled_blocks(compiled, warm) == 4
    assert_same(unet, compiled, [warm])

    weights = [weakref.ref(tensor) for tensor in unet.parameters()]
    del unet, compiled
    gc.collect()
    assert not any(weight() is not None for weight in weights)


@only_in_full
def test_a_failing_compiler_fails_no_pass(
    unet: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Here: dynamo's limit, which a second kind of shape hits."""
    monkeypatch.setattr(inductor_unet, "_ENTRIES", 1)
    compiled = compile_denoiser(unet, "inductor", threads=THREADS)
    first, second = SHAPES[:2]
    with caplog.at_level(logging.ERROR):
        for shape in (first, second, second, first):
            assert_same(unet, compiled, [shape])
            assert compiled.wait(60)
    assert [compiled.compiled(shape, THREADS) for shape in (first, second)] == [True, False]
    assert len([each for each in caplog.records if "stay uncompiled" in each.message]) == 1
    assert [compiled_blocks(compiled, shape) for shape in (first, second)] == [4, 0]

    with pytest.raises(RuntimeError, match="cannot be compiled"):
        compile_denoiser(unet, "inductor", threads=THREADS, warm=[second])


def test_the_number_of_shapes_is_bounded(unet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inductor_unet, "MAX_SHAPES", 1)
    compiled = compile_denoiser(unet, "inductor", threads=THREADS)
    assert_same(unet, compiled, SHAPES[:3])
    assert compiled.wait(60)
    assert [compiled.compiled(shape, THREADS) for shape in SHAPES[:3]] == [True, False, False]


def test_the_twin_shares_all_weights(unet: Any) -> None:
    before = {id(tensor) for tensor in unet.parameters()}
    compiled = compile_denoiser(unet, "inductor", threads=THREADS)
    assert {id(tensor) for tensor in compiled._twin.parameters()} == before
