"""The quantisation of a loaded component: its linear layers, by torchao or bitsandbytes."""

from __future__ import annotations

from typing import Any

import torch

from models.quantization import NF4_BLOCK, Scheme


def quantize(module: torch.nn.Module, scheme: Scheme) -> None:
    """Quantise the weights of all linear layers, in place and where they are.

    Args:
        module: in the precision that it is to compute with, in eval mode, without gradients.
    """
    if scheme == "nf4":
        _to_nf4(module)
        return
    # Both libraries take seconds to import, and are optional.
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_

    quantize_(module, Int8WeightOnlyConfig() if scheme == "int8" else Float8WeightOnlyConfig())


def _to_nf4(module: torch.nn.Module) -> None:
    from bitsandbytes.nn import Linear4bit, Params4bit

    for path, layer in list(module.named_modules()):
        if type(layer) is not torch.nn.Linear:
            continue
        dtype = layer.weight.dtype
        # Stored as numbers of the layer's own type, as T5 brings its inputs to that of its weights.
        options: dict[str, Any] = {
            "quant_type": "nf4",
            "compress_statistics": False,
            "quant_storage": dtype,
        }
        small = Linear4bit(
            layer.in_features,
            layer.out_features,
            bias=layer.bias is not None,
            compute_dtype=dtype,
            device="meta",
            **options,
        )
        small.weight = Params4bit(
            layer.weight.data, requires_grad=False, blocksize=NF4_BLOCK, module=small, **options
        )
        small.bias = layer.bias
        module.set_submodule(path, small.to(layer.weight.device).eval())


def module_bytes(module: torch.nn.Module) -> int:
    """Bytes of a module's parameters and buffers, quantised ones included."""
    return sum(_nbytes(tensor) for tensor in (*module.parameters(), *module.buffers()))


def _nbytes(tensor: torch.Tensor) -> int:
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        return sum(_nbytes(getattr(tensor, name)) for name in names)
    state = getattr(tensor, "quant_state", None)
    return tensor.nbytes + (0 if state is None else state.absmax.nbytes)
