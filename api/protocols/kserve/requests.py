"""The JSON of requests, in both versions."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from api.bodies import Body
from contract.errors import ErrorCode, RequestError

_MAX_TENSORS: Final = 64
_BINARY_OUTPUT: Final = "binary_data_output"

Parameters = dict[str, Any]


class InputTensor(Body):
    """An input of the model. `GET /v2/models/{model}` lists those that there are."""

    name: str
    shape: Annotated[list[int], Field(max_length=8, fail_fast=True)] = Field(
        description="`[1]` for all inputs but lists", examples=[[1]]
    )
    datatype: str = Field(
        description="`BYTES` for texts and pictures, `INT64` (or another integer), `FP32` (or "
        "another number), `BOOL`",
        examples=["BYTES"],
    )
    parameters: Parameters | None = Field(
        None,
        description="`binary_data_size`: so many bytes of the binary data are this tensor",
        examples=[{}],
    )
    data: list[Any] | None = Field(
        None,
        description="The elements, where they are not binary data: texts, numbers, pictures in "
        "base64",
        examples=[["a red apple on a blue background"]],
    )

    @property
    def binary_data_size(self) -> int | None:
        """The tensor's length in the binary data. Raises ``RequestError`` for what is none."""
        for name, value in (self.parameters or {}).items():
            if name != "binary_data_size":
                message = f"inputs of {self.name}: the only parameter is binary_data_size"
                raise RequestError(ErrorCode.INVALID_REQUEST, message, field=self.name)
            if type(value) is not int or value < 0:
                message = f"binary_data_size of {self.name} must be an integer, at least 0"
                raise RequestError(ErrorCode.INVALID_REQUEST, message, field=self.name)
            return value
        return None


class RequestedOutput(Body):
    """An output that is wanted."""

    name: str = Field(description="One of those that `GET /v2/models/{model}` lists")
    parameters: Parameters | None = Field(
        None, description="`binary_data`: whether it is to come as binary data", examples=[{}]
    )

    def binary(self, otherwise: bool) -> bool:
        """Whether it is wanted as binary data. Raises ``RequestError``."""
        return _flag(self.parameters, "binary_data", otherwise, f"output {self.name}")


class InferenceRequest(Body):
    """What a model is to do. Absent and null both mean the default."""

    example: ClassVar[dict[str, Any]] = {
        "inputs": [
            {
                "name": "prompt",
                "shape": [1],
                "datatype": "BYTES",
                "data": ["a red apple on a blue background"],
            },
            {"name": "num_inference_steps", "shape": [1], "datatype": "INT64", "data": [20]},
        ],
        "parameters": {"seed": 42},
        "outputs": [{"name": "images"}],
    }

    id: str | None = Field(
        None, max_length=1024, description="Returned with the response", examples=["1"]
    )
    model_name: str | None = Field(None, description="That of the path, if it is there at all")
    parameters: Parameters | None = Field(
        None,
        description="Inputs of one element may be here as well, by their names; "
        f"`{_BINARY_OUTPUT}`: whether outputs are to come as binary data",
        examples=[{}],
    )
    inputs: Annotated[list[InputTensor], Field(max_length=_MAX_TENSORS, fail_fast=True)]
    outputs: (
        Annotated[list[RequestedOutput], Field(max_length=_MAX_TENSORS, fail_fast=True)] | None
    ) = Field(None, description="Those that are wanted; default: all but `pixels`", examples=[[]])

    @property
    def input_parameters(self) -> Parameters:
        """The parameters that are inputs."""
        given = self.parameters or {}
        return {name: value for name, value in given.items() if name != _BINARY_OUTPUT}

    @property
    def binary_output(self) -> bool:
        """Whether outputs come as binary data where they do not say. Raises ``RequestError``."""
        given = self.parameters or {}
        kept = {name: value for name, value in given.items() if name == _BINARY_OUTPUT}
        return _flag(kept, _BINARY_OUTPUT, False, "the request")

    @classmethod
    def known_fields(cls) -> dict[str, list[str]]:
        return {
            **super().known_fields(),
            "inputs": list(InputTensor.model_fields),
            "outputs": list(RequestedOutput.model_fields),
        }


class PredictRequest(Body):
    """Instances for a model, each of which makes a prediction."""

    example: ClassVar[dict[str, Any]] = {
        "instances": [{"prompt": "a red apple on a blue background", "seed": 42}]
    }

    instances: Annotated[
        list[dict[str, Any]], Field(min_length=1, max_length=_MAX_TENSORS, fail_fast=True)
    ]


class UnloadParameters(Body):
    """Triton's parameters of an unload."""

    unload_dependents: bool | None = Field(
        None, description="No model depends on another one here: without effect"
    )


class RepositoryIndexRequest(Body):
    """Which models to list."""

    ready: bool | None = Field(
        None, description="Whether to list only those that are ready", examples=[False]
    )


class LoadRequest(Body):
    """How a model is to be loaded: there is nothing to choose."""

    parameters: Annotated[dict[str, Any], Field(max_length=0)] | None = Field(
        None, description="Configurations and files come from the service alone", examples=[{}]
    )


class UnloadRequest(Body):
    """How a model is to be unloaded."""

    parameters: UnloadParameters | None = Field(None, examples=[{}])

    @classmethod
    def known_fields(cls) -> dict[str, list[str]]:
        return {**super().known_fields(), "parameters": list(UnloadParameters.model_fields)}


def _flag(parameters: Parameters | None, name: str, otherwise: bool, whose: str) -> bool:
    for given, value in (parameters or {}).items():
        if given != name:
            message = f"{whose}: the only parameter is {name}"
            raise RequestError(ErrorCode.INVALID_REQUEST, message, field=name)
        if not isinstance(value, bool):
            message = f"{name} of {whose} must be true or false"
            raise RequestError(ErrorCode.INVALID_REQUEST, message, field=name)
        return value
    return otherwise
