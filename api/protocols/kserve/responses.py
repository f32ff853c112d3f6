"""The JSON of responses, in both versions."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from api.protocols.native.results import GeneratedImages, Predictions
from contract.model_state import Availability


class TensorMetadata(BaseModel):
    """A tensor that a model takes or makes."""

    name: str
    datatype: str
    shape: list[int] = Field(description="-1 stands for any length")


class ModelMetadata(BaseModel):
    """A model. Of its inputs none but the first one is required."""

    # ``model_`` is no prefix of pydantic's here.
    model_config = ConfigDict(protected_namespaces=())

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ConfigTensor(BaseModel):
    """A tensor in a model's configuration."""

    name: str
    data_type: str
    dims: list[int]
    optional: bool = False


class ModelConfiguration(BaseModel):
    """A model's configuration, as Triton has it."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[ConfigTensor]
    output: list[ConfigTensor]


class ModelReady(BaseModel):
    """Whether a model can be used."""

    name: str
    ready: bool


class ModelNames(BaseModel):
    """The models."""

    models: list[str]


class RepositoryModel(BaseModel):
    """A model of the repository."""

    name: str
    version: str
    state: Availability = Field(description="`READY` where a request would be served")
    reason: str = Field(description="Why it is not ready, or what a request has to wait for")


class ModelLoaded(BaseModel):
    """A model that is in memory now."""

    name: str
    load: bool


class ModelUnloaded(BaseModel):
    """A model that takes no more requests."""

    name: str
    unload: bool


class ServerMetadata(BaseModel):
    """The service."""

    name: str
    version: str
    extensions: list[str]


class ServerLive(BaseModel):
    """Whether the service lives."""

    live: bool


class ServerReady(BaseModel):
    """Whether the service takes requests."""

    ready: bool


class ResponseTensor(BaseModel):
    """An output of the model."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, int] | None = Field(
        None, description="`binary_data_size`: so many bytes of the binary data are this tensor"
    )
    data: list[Any] | None = Field(
        None, description="The elements, where they are not binary data; pictures in base64"
    )


class InferenceResponse(BaseModel):
    """What a model has made."""

    model_config = ConfigDict(protected_namespaces=())

    model_name: str
    model_version: str
    id: str
    outputs: list[ResponseTensor]


class PredictResponse(BaseModel):
    """A prediction for each instance, in their order."""

    predictions: list[GeneratedImages | Predictions]
