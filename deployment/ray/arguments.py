"""The arguments of the application: what is deployed, and in how many replicas.

``serve run deployment.ray.app:build models=embedded,sd-1.5 max_replicas=4`` gives them as strings,
``args:`` of a Serve config file as YAML. What is served and within which limits are the ``SD_``
settings of the process that builds the application.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Policy: TypeAlias = Literal["work", "requests"]


def _split(value: object) -> object:
    """``a+b,c`` are the groups (a, b) and (c)."""
    if isinstance(value, str):
        return [group.strip() for group in value.split(",") if group.strip()]
    return value


def _split_group(value: object) -> object:
    if isinstance(value, str):
        return [name.strip() for name in value.split("+") if name.strip()]
    return value


Group = Annotated[tuple[str, ...], BeforeValidator(_split_group), Field(min_length=1)]
Groups = Annotated[tuple[Group, ...], BeforeValidator(_split)]


class EngineOptions(BaseModel):
    """How the replicas of one engine deployment are placed and scaled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_gpus: float = Field(
        0.0,
        ge=0,
        le=1,
        description="GPUs of a replica: 1, or a share of one; 0 for a CPU. An engine uses one GPU: "
        "for several, have several replicas",
    )
    num_cpus: float = Field(
        1.0,
        ge=0,
        le=1024,
        description="CPUs that Ray sets aside for a replica, and on a CPU its threads",
    )
    min_replicas: int = Field(
        1, ge=0, le=10_000, description="0: a replica is started when a request comes"
    )
    max_replicas: int = Field(1, ge=1, le=10_000)
    policy: Policy = Field(
        "work",
        description="Scale by the denoising work that waits, or, as Serve does by itself, by the "
        "number of requests",
    )
    target_row_steps: float = Field(
        120.0,
        gt=0,
        description="work: what one replica may have in front of it, in denoising steps of "
        "pictures of the model's own size: one of 20 steps with guidance is 40",
    )
    target_requests: float = Field(
        8.0, gt=0, description="requests: how many one replica may have at a time"
    )
    upscale_delay: float = Field(
        10.0, ge=0, description="Seconds for which more must be wanted before there are more"
    )
    downscale_delay: float = Field(
        300.0, ge=0, description="Seconds for which fewer must do before there are fewer"
    )
    look_back: float = Field(
        12.0, gt=0, description="Seconds over which the measurements are averaged"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError(
                f"max_replicas ({self.max_replicas}) must be at least min_replicas "
                f"({self.min_replicas})"
            )
        return self


class Engines(EngineOptions):
    """One engine deployment: its replicas all serve the same models."""

    models: Group = Field(description="Catalog names; as text, joined with +")


class Arguments(EngineOptions):
    """The application's arguments. Those of ``EngineOptions`` hold for every engine deployment."""

    models: Groups = Field(
        (),
        description="Catalog names, comma-separated, each with replicas of its own; models joined "
        "with + share theirs. Default: those of SD_MODELS, together. The first is the default",
    )
    engines: tuple[Engines, ...] = Field(
        (),
        description="In place of models: the deployments one by one, where their options differ",
    )
    ingress_replicas: int = Field(
        2,
        ge=1,
        le=1000,
        description="Processes that speak with clients. With two, one may die and new requests are "
        "served",
    )
    start_seconds: float = Field(
        900.0,
        gt=0,
        description="How long a request may wait for a replica to start, beside its deadline",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.models and self.engines:
            raise ValueError("there must be models or engines, not both")
        names = [name for engines in self.groups(()) for name in engines.models]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the model {name} is there {names.count(name)} times")
        return self

    def groups(self, default: tuple[str, ...]) -> list[Engines]:
        """The engine deployments.

        Args:
            default: the models of the one deployment, where the arguments name none.
        """
        return list(self.engines) or [self._engines(models) for models in self._groups(default)]

    def _groups(self, default: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if self.models:
            yield from self.models
        elif default:
            yield default

    def _engines(self, models: tuple[str, ...]) -> Engines:
        common = {name: getattr(self, name) for name in EngineOptions.model_fields}
        return Engines(models=models, **common)
