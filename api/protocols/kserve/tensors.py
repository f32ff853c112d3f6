"""Tensors: the values of inputs and outputs on the wire, as JSON or as binary data.

https://github.com/kserve/open-inference-protocol, with the binary data of Triton's extension.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json

from api import base64_text
from api.errors import shown
from api.protocols.kserve.inputs import Inputs
from api.protocols.kserve.requests import InferenceRequest, InputTensor
from api.protocols.native.kinds import Kind
from contract.errors import ErrorCode, RequestError

BYTES: Final = "BYTES"
# No input has more.
_MAX_ELEMENTS: Final = 1024
# The code that ``struct`` has for the elements of a datatype, little-endian.
_CODES: Final[Mapping[str, str]] = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
_INTEGERS: Final = tuple(name for name in _CODES if "INT" in name)
_NUMBERS: Final = ("FP32", "FP64", "FP16", *_INTEGERS)
_SIGNIFICANT: Final = {"FP16": range(3, 6), "FP32": range(6, 10)}
# The datatype of each kind of input, and after it those that are taken as well.
DATATYPES: Final[Mapping[Kind, tuple[str, ...]]] = {
    "text": (BYTES,),
    "json": (BYTES,),
    "picture": (BYTES,),
    "boolean": ("BOOL",),
    "integer": ("INT64", *_INTEGERS),
    "integers": ("INT64", *_INTEGERS),
    "number": _NUMBERS,
}


def shape_of(kind: Kind) -> list[int]:
    """The shape of an input; -1 stands for any length."""
    return [-1 if kind == "integers" else 1]


def read_inputs(request: InferenceRequest, binary: memoryview, kinds: Mapping[str, Kind]) -> Inputs:
    """The inputs of a request: its tensors, and those of its parameters that name inputs.

    Args:
        request: the JSON of the request.
        binary: what follows it; the pictures are views into it.
        kinds: the inputs that there are.

    Raises:
        RequestError: INVALID_REQUEST, naming the tensor.
    """
    inputs = Inputs()
    offset = 0
    for tensor in request.inputs:
        kind = kinds.get(tensor.name)
        if kind is None:
            raise _invalid(
                tensor.name,
                f"{shown(tensor.name)} is not one of the inputs, which are {', '.join(kinds)}",
            )
        if tensor.name in inputs.values or tensor.name in inputs.pictures:
            raise _invalid(tensor.name, f"{tensor.name} may be given once only")
        size = tensor.binary_data_size
        if size is None:
            elements = _from_json(tensor)
        else:
            elements = _from_binary(tensor, binary[offset : offset + size])
            offset += size
        _take(inputs, tensor, kind, elements)
    if offset != len(binary):
        raise RequestError(
            ErrorCode.INVALID_REQUEST,
            f"the binary data must be as long as the sizes of the inputs add up to, {offset} "
            f"bytes, got {len(binary)}",
        )
    for name, value in request.input_parameters.items():
        if kinds.get(name, "picture") == "picture":
            names = [known for known, kind in kinds.items() if kind != "picture"]
            raise _invalid(
                name, f"{shown(name)} is not a parameter; the parameters are {', '.join(names)}"
            )
        if name in inputs.values:
            raise _invalid(name, f"{name} may be given once only")
        text = kinds[name] == "json" and isinstance(value, str)
        inputs.values[name] = _parsed(name, value) if text else value
    return inputs


def _take(inputs: Inputs, tensor: InputTensor, kind: Kind, elements: list[Any]) -> None:
    """Note a tensor's value, in the form that its kind has."""
    name = tensor.name
    if tensor.datatype not in DATATYPES[kind]:
        known = ", ".join(dict.fromkeys(DATATYPES[kind]))
        raise _invalid(name, f"{name} must have the datatype {known}, got {shown(tensor.datatype)}")
    if kind == "integers":
        inputs.values[name] = elements
        return
    if len(elements) != 1:
        raise _invalid(name, f"{name} must have one element, got {len(elements)}")
    (element,) = elements
    if kind == "picture":
        inputs.pictures[name] = (
            element if isinstance(element, memoryview) else base64_text.decode(name, element)
        )
        return
    if isinstance(element, memoryview):
        element = _text(name, element)
    inputs.values[name] = _parsed(name, element) if kind == "json" else element


def _from_json(tensor: InputTensor) -> list[Any]:
    """The elements of a tensor that is in the JSON, flat or nested."""
    elements = tensor.data
    if elements is None:
        raise _invalid(tensor.name, f"{tensor.name} has neither data nor a binary_data_size")
    for _ in tensor.shape[1:]:
        if not any(isinstance(element, list) for element in elements):
            break
        nested = [each if isinstance(each, list) else [each] for each in elements]
        elements = [element for each in nested for element in each]
    _check_count(tensor, len(elements))
    return [_decimal(tensor.datatype, element) for element in elements]


def _from_binary(tensor: InputTensor, data: memoryview) -> list[Any]:
    """The elements of a tensor that is in the binary data; those of BYTES are views."""
    size = tensor.binary_data_size
    if tensor.data is not None:
        raise _invalid(tensor.name, f"{tensor.name} has both data and a binary_data_size")
    if len(data) != size:
        raise _invalid(
            tensor.name, f"{tensor.name} has {size} bytes of binary data, of which {len(data)} came"
        )
    if tensor.datatype == BYTES:
        elements: list[Any] = list(_strings(tensor.name, data))
        _check_count(tensor, len(elements))
        return elements
    code = _CODES.get(tensor.datatype)
    if code is None:
        known = ", ".join((BYTES, *_CODES))
        raise _invalid(
            tensor.name,
            f"{tensor.name} must have one of the datatypes {known}, got {shown(tensor.datatype)}",
        )
    width = struct.calcsize(f"<{code}")
    count, rest = divmod(len(data), width)
    if rest:
        raise _invalid(
            tensor.name,
            f"{tensor.name} must have {width} bytes for each element, got {len(data)} bytes",
        )
    _check_count(tensor, count)
    numbers = struct.unpack(f"<{count}{code}", data)
    return [_decimal(tensor.datatype, number) for number in numbers]


def _strings(name: str, data: memoryview) -> Iterator[memoryview]:
    """The elements of a BYTES tensor: each has its length before it."""
    offset = 0
    for _ in range(_MAX_ELEMENTS + 1):
        if offset == len(data):
            return
        start = offset + 4
        if start <= len(data):
            (length,) = struct.unpack_from("<I", data, offset)
            offset = start + length
        if start > len(data) or offset > len(data):
            raise _invalid(name, f"{name}: the binary data ends within an element")
        yield data[start:offset]


def _check_count(tensor: InputTensor, count: int) -> None:
    if count > _MAX_ELEMENTS:
        raise _invalid(
            tensor.name, f"{tensor.name} must have at most {_MAX_ELEMENTS} elements, got more"
        )
    if min(tensor.shape, default=1) < 0 or math.prod(tensor.shape) != count:
        raise _invalid(
            tensor.name,
            f"{tensor.name} has the shape {shown(tensor.shape)}, and {count} elements",
        )


def _decimal(datatype: str, number: Any) -> Any:
    """A number of few digits as the decimal number that was meant: 0.7, not 0.69999999."""
    if not isinstance(number, float) or datatype not in _SIGNIFICANT:
        return number
    form = f"<{_CODES[datatype]}"
    try:
        packed = struct.pack(form, number)
        for digits in _SIGNIFICANT[datatype]:
            short = float(f"{number:.{digits}g}")
            if struct.pack(form, short) == packed:
                return short
    except OverflowError:
        pass
    return number


def _text(name: str, data: memoryview) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise _invalid(name, f"{name} must be UTF-8") from None


def _parsed(name: str, value: Any) -> Any:
    """The value of an input whose text is JSON."""
    if not isinstance(value, str):
        return value
    try:
        return from_json(value)
    except ValueError as error:
        raise _invalid(name, f"{name} must be JSON: {error}") from None


def _invalid(name: str, message: str) -> RequestError:
    return RequestError(ErrorCode.INVALID_REQUEST, message, field=name)


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """A tensor of a response.

    Attributes:
        elements: of BYTES: text or bytes; of UINT8: one ``bytes`` for each picture; else numbers.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    elements: Sequence[Any]

    def binary(self) -> list[bytes]:
        """The binary data, in pieces."""
        if self.datatype == "UINT8":
            return list(self.elements)
        if self.datatype != BYTES:
            code = f"<{len(self.elements)}{_CODES[self.datatype]}"
            return [struct.pack(code, *self.elements)]
        strings = [each.encode() if isinstance(each, str) else each for each in self.elements]
        return [piece for each in strings for piece in (struct.pack("<I", len(each)), each)]

    def json(self) -> list[Any]:
        """The elements as JSON has them: in one list, bytes in base64."""
        if self.datatype == "UINT8":
            return [byte for picture in self.elements for byte in picture]
        return [
            base64_text.encode(each) if isinstance(each, bytes) else each for each in self.elements
        ]
