"""The bytes of live tensors: what counts, how long, and that nothing is left behind."""

from __future__ import annotations

import torch

from models.activations import peak_bytes

KIB = 1024  # bytes of the tensors below: 256 numbers of 4 bytes


def _tensor() -> torch.Tensor:
    return torch.empty(256)


def test_the_most_that_lives_at_a_time_counts() -> None:
    def work() -> None:
        first = _tensor()
        second = first + 1
        del first
        third = second + 1
        del second, third
        _tensor()

    assert peak_bytes(work) == 2 * KIB


def test_views_take_nothing() -> None:
    def work() -> None:
        tensor = _tensor()
        assert tensor.view(16, 16).t()[1:].shape == (15, 16)

    assert peak_bytes(work) == KIB


def test_weights_do_not_count_and_gradients_do() -> None:
    with torch.device("meta"):
        layer = torch.nn.Linear(16, 256, bias=False)

    def forward() -> None:
        with torch.inference_mode():
            layer(torch.empty(1, 16))

    def backward() -> None:
        layer(torch.empty(1, 16)).sum().backward()
        assert layer.weight.grad is not None

    weight = layer.weight
    assert peak_bytes(forward, [layer]) == 64 + KIB
    assert 16 * KIB < peak_bytes(backward, [layer]) < 18 * KIB
    assert layer.weight is weight
    assert weight.is_meta
    assert weight.grad is None


def test_what_autograd_keeps_counts_as_long_as_it_is_kept() -> None:
    layers = torch.nn.Sequential(*(torch.nn.Linear(16, 16) for _ in range(8)))

    def kept() -> None:
        layers(torch.empty(16, 16))

    def not_kept() -> None:
        with torch.no_grad():
            layers(torch.empty(16, 16))

    assert peak_bytes(not_kept, [layers]) <= 3 * KIB
    assert peak_bytes(kept, [layers]) >= 8 * KIB
    assert not layers[0].weight.is_meta


def test_tensors_far_larger_than_the_memory_cost_nothing() -> None:
    def work() -> None:
        pictures = torch.empty(1024, 1024, 1024, 1024)
        assert (pictures * 2).shape[0] == 1024

    assert peak_bytes(work) == 2 * 4 * 1024**4
