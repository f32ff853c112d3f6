"""The ranking of replicas: which of them a request is best sent to.

Free of Ray: the router runs it in every process with a handle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from contract.request import GenerationRequest

# What it costs to load, in requests of the kind that wait meanwhile: for a LoRA another replica may
# have that many more in front, and for a model.
LORA_LOAD: Final = 2.0
MODEL_LOAD: Final = 16.0


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a replica.

    Attributes:
        name: of the replica.
        work_left: row-steps x pixels of the jobs that it has.
        models: names of those in memory; likewise ``loras`` by their tags.
    """

    name: str
    work_left: float = 0.0
    models: frozenset[str] = frozenset()
    loras: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Need:
    """What a request needs of a replica.

    Attributes:
        work: row-steps x pixels, about.
        models: names; likewise ``loras`` by their tags.
    """

    work: float
    models: frozenset[str]
    loras: frozenset[str]

    @classmethod
    def of(cls, request: GenerationRequest) -> Self:
        share = 1.0 if request.strength is None else request.strength
        rows = 2 if request.guidance_scale > 1 else 1
        steps = max(1.0, request.num_inference_steps * share)
        return cls(
            work=request.num_images * rows * steps * request.width * request.height,
            models=frozenset({request.model, *(part.model for part in request.segments)}),
            loras=frozenset(use.tag for use in request.loras),
        )

    def cost(self, replica: Standing) -> float:
        """The work that is done on a replica before this, with that of loading what is not there.

        A replica of which nothing is in memory has not said what is.
        """
        models = len(self.models - replica.models) if replica.models else 0
        loras = len(self.loras - replica.loras)
        return replica.work_left + self.work * (MODEL_LOAD * models + LORA_LOAD * loras)


def ranked(need: Need, replicas: Iterable[Standing], avoid: Sequence[str] = ()) -> list[str]:
    """The names of the replicas, the best first; of those to avoid only where there are no others.

    Else a replica that is about to end, and so has nothing else to do, would have the request again
    where the others are slow to answer.
    """
    there = list(replicas)
    wanted = [one for one in there if one.name not in avoid] or there
    return [one.name for one in sorted(wanted, key=need.cost)]
