"""Quantisation: which weights of a model are kept in 8 or 4 bits, and what they take then.

Weights alone: what layers compute with has the model's precision, so that a row of a pass does not
depend on its neighbours. Free of torch; ``models.quantized_layers`` does it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from types import MappingProxyType
from typing import Annotated, Final, Literal, TypeAlias, get_args

from pydantic import BeforeValidator

Scheme: TypeAlias = Literal["int8", "fp8", "nf4"]
Part: TypeAlias = Literal["denoiser", "t5"]

PARTS: Final[tuple[Part, ...]] = get_args(Part)
SCHEMES: Final[tuple[Scheme, ...]] = get_args(Scheme)
# The components of a pipeline that a part can be.
_COMPONENTS: Final[Mapping[Part, tuple[str, ...]]] = MappingProxyType(
    {"denoiser": ("unet", "transformer"), "t5": ("text_encoder_3",)}
)
_PACKAGES: Final[Mapping[Scheme, str]] = MappingProxyType(
    {"int8": "torchao", "fp8": "torchao", "nf4": "bitsandbytes"}
)
NF4_BLOCK = 64  # weights that share a scale


def _parse(value: object) -> object:
    """``int8`` for all parts, or ``t5=int8,denoiser=fp8``."""
    if not isinstance(value, str):
        return value
    if value in SCHEMES:
        return dict.fromkeys(PARTS, value)
    pairs = [part.split("=", 1) for part in value.split(",")]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(
            f"must be one of {', '.join(SCHEMES)}, or such as t5=int8,denoiser=fp8 with "
            f"{' and '.join(PARTS)}"
        )
    return {part.strip(): scheme.strip() for part, scheme in pairs}


# By the parts of a model, which are quantised differently or not at all.
Quantization: TypeAlias = Annotated[dict[Part, Scheme], BeforeValidator(_parse)]


def quantized_components(parts: Mapping[Part, Scheme]) -> dict[str, Scheme]:
    """The same by the components that a pipeline may have."""
    return {name: scheme for part, scheme in parts.items() for name in _COMPONENTS[part]}


def missing_package(scheme: Scheme) -> str | None:
    """The package that a scheme needs, if it is not installed."""
    package = _PACKAGES[scheme]
    return None if find_spec(package) else package


def linear_bytes(scheme: Scheme, outputs: int, inputs: int) -> int:
    """Bytes of the weights of a quantised linear layer, scales included and its bias not."""
    weights = outputs * inputs
    if scheme == "nf4":
        return -(-weights // 2) + 4 * -(-weights // NF4_BLOCK)
    # A scale for each output, and of int8 a zero point.
    return weights + outputs * (5 if scheme == "int8" else 4)


def is_linear(name: str, shape: Sequence[int]) -> bool:
    """Whether a tensor of a weights file is what a linear layer multiplies by. Others with two
    dimensions are tables, which are named so."""
    tables = ("embedding", "embed_tokens", "relative_attention_bias", "shared")
    return (
        len(shape) == 2
        and name.endswith(".weight")
        and not any(part.endswith(tables) for part in name.split("."))
    )
