"""What is served, by name, and which model a prompt belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

from api.backend import Backend, ServedLora, ServedModel
from api.errors import shown
from api.schemas import LoraBody
from contract.errors import ErrorCode, RequestError
from contract.request import LoraUse
from models.catalog import Task
from models.finetuned import AUTO, Provenance
from settings import Settings

_LISTED = 20


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model that a request may name.

    Attributes:
        model: what was loaded at the start.
        lora: what makes another model of it, if that is the one that is meant.
        uses: that LoRA and those that a request adds.
    """

    model: ServedModel
    lora: ServedLora | None = None
    uses: tuple[LoraUse, ...] = ()

    @property
    def provenance(self) -> Provenance | None:
        """Where a fine-tuned model comes from; None for a base."""
        return self.model.provenance if self.lora is None else self.lora.provenance

    @property
    def name(self) -> str:
        """The name by which clients know it."""
        return self.model.name if self.lora is None else self.lora.name

    @property
    def kind(self) -> Literal["base", "full", "lora"]:
        """What it is: fine-tuned or not, and how."""
        if self.lora is not None:
            return "lora"
        return "base" if self.model.provenance is None else "full"

    @property
    def size(self) -> int | None:
        """Bytes on the disk; None for a base."""
        return self.model.size if self.lora is None else self.lora.size


class ServedModels:
    """The served models with the LoRAs of this moment.

    Args:
        backend: what serves them.
        settings: the limits.
    """

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self._backend = backend
        self._settings = settings

    @property
    def models(self) -> Sequence[ServedModel]:
        """What was loaded at the start; the first is the default."""
        return self._backend.models

    @property
    def loras(self) -> Sequence[ServedLora]:
        """The LoRAs that can be used now; none where the models are compiled."""
        return () if self._compiled else self._usable()

    def choices(self) -> list[ModelChoice]:
        """Everything that ``model`` may name, but for ``auto``; the default first."""
        models = {model.name: model for model in self.models}
        tuned = [ModelChoice(models[lora.base], lora) for lora in self.loras]
        return [*map(ModelChoice, models.values()), *tuned]

    def choose(
        self, name: str | None, prompt: str, task: Task, loras: Sequence[LoraBody] = ()
    ) -> ModelChoice:
        """The model that a request names, or that its prompt belongs to, with its LoRAs.

        Args:
            name: None for the default, ``auto`` for what the prompt says (see ``route``).
            loras: those that the request adds.

        Raises:
            RequestError: NOT_FOUND for unknown names; OUT_OF_RANGE for a model that cannot do the
                task, and for LoRAs that cannot be combined.
        """
        if name is None:
            choice = ModelChoice(self.models[0])
        elif name == AUTO:
            choice = self.route(prompt, task)
        else:
            choice = self._named(name)
        if task not in choice.model.tasks:
            raise RequestError(
                ErrorCode.OUT_OF_RANGE,
                f"model must be one that can do {task}; {choice.name} can do "
                f"{', '.join(choice.model.tasks)}",
                field="model",
            )
        return replace(choice, uses=self._uses(choice, loras))

    def route(self, prompt: str, task: Task) -> ModelChoice:
        """The fine-tuned model whose subject token is in the prompt, else the default.

        The token counts as a word of its own, in capitals or not, as CLIP's tokenizer writes
        everything small. Of several tokens, the first in the prompt (of two that begin at the same
        place, the longer) decides; of several models with that token, the one made last.
        """
        found = []
        for choice in self.choices():
            provenance = choice.provenance
            if provenance is None or provenance.subject_token is None:
                continue
            place = _place(provenance.subject_token, prompt)
            if place is not None and task in choice.model.tasks:
                created = provenance.created.timestamp()
                rank = (place, -len(provenance.subject_token), -created, choice.name)
                found.append((rank, choice))
        return min(found, key=lambda one: one[0])[1] if found else ModelChoice(self.models[0])

    def _uses(self, choice: ModelChoice, wanted: Sequence[LoraBody]) -> tuple[LoraUse, ...]:
        if wanted and self._compiled:
            raise _refused(self._no_loras("loras"), "loras")
        loras = [] if choice.lora is None else [(choice.lora, 1.0)]
        for index, body in enumerate(wanted):
            field = f"loras.{index}.name"
            lora = self._lora(body.name, choice, field)
            if any(lora.name == other.name for other, _ in loras):
                own = " and is the model itself" if lora == choice.lora else ""
                raise _refused(
                    f"{field} must be one that is not there yet, got {shown(body.name)} again{own}",
                    field,
                )
            loras.append((lora, 1.0 if body.scale is None else body.scale))
        memory = sum(lora.memory for lora, _ in loras)
        if memory > self._settings.lora_memory:
            raise _refused(
                f"the weights of all LoRAs of a request must take at most "
                f"{int(self._settings.lora_memory)} bytes, got {memory}",
                "loras" if wanted else "model",
            )
        return tuple(LoraUse(lora.tag, scale) for lora, scale in loras)

    @property
    def _compiled(self) -> bool:
        return not self._settings.offers_loras

    def _usable(self) -> list[ServedLora]:
        names = {model.name for model in self.models}
        loras = self._backend.loras
        return [lora for lora in loras if lora.base in names and lora.name not in names]

    def _no_loras(self, field: str) -> str:
        return (
            f"{field} must name no LoRA, as the models are compiled "
            f"(SD_COMPILE={self._settings.compile})"
        )

    def _named(self, name: str) -> ModelChoice:
        choices = self.choices()
        for choice in choices:
            if choice.name == name:
                return choice
        if self._compiled and any(name == lora.name for lora in self._usable()):
            raise _refused(self._no_loras("model") + f", got {shown(name)}", "model")
        names = _listed(choice.name for choice in choices)
        raise RequestError(
            ErrorCode.NOT_FOUND,
            f"model must be {AUTO} or one of {names}, got {shown(name)}",
            field="model",
        )

    def _lora(self, name: str, choice: ModelChoice, field: str) -> ServedLora:
        base = choice.model.name
        loras = {lora.name: lora for lora in self.loras}
        lora = loras.get(name)
        if lora is None:
            names = _listed(lora.name for lora in loras.values() if lora.base == base)
            raise RequestError(
                ErrorCode.NOT_FOUND,
                f"{field} must be a LoRA of {base}, which are {names}; got {shown(name)}",
                field=field,
            )
        if lora.base != base:
            raise _refused(
                f"{field} must be a LoRA of {base}, got {shown(name)}, which is one of {lora.base}",
                field,
            )
        return lora


def _place(token: str, prompt: str) -> int | None:
    """Where the token is a word of the prompt."""
    match = re.search(rf"(?<!\w){re.escape(token)}(?!\w)", prompt, re.IGNORECASE)
    return None if match is None else match.start()


def _listed(names: Iterable[str]) -> str:
    """The names, for a sentence; of very many, the first."""
    listed = list(islice(names, _LISTED + 1))
    more = ", ... (GET /models has all)" if len(listed) > _LISTED else ""
    return (", ".join(listed[:_LISTED]) or "none") + more


def _refused(message: str, field: str) -> RequestError:
    return RequestError(ErrorCode.OUT_OF_RANGE, message, field=field)
