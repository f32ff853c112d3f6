"""The served models by name, and the model that a prompt belongs to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

from api.backend import Backend, ServedLora, ServedModel
from api.errors import shown
from api.parameters import LoraParameter, Names, ParameterError
from contract.errors import ErrorCode
from contract.model_state import ModelState
from contract.request import LoraUse
from models.catalog import Task
from models.finetuned import AUTO, Provenance
from settings import Settings

_LISTED = 20


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model that a request may name.

    Attributes:
        model: one that was loaded at the start.
        lora: makes another model of it, if that is the one that is named.
        uses: that LoRA and those that a request adds.
    """

    model: ServedModel
    lora: ServedLora | None = None
    uses: tuple[LoraUse, ...] = ()

    @property
    def provenance(self) -> Provenance | None:
        """The origin of a fine-tuned model; None for a base."""
        return self.model.provenance if self.lora is None else self.lora.provenance

    @property
    def name(self) -> str:
        """The name by which clients know it."""
        return self.model.name if self.lora is None else self.lora.name

    @property
    def kind(self) -> Literal["base", "full", "lora"]:
        """Whether it is fine-tuned, and how."""
        if self.lora is not None:
            return "lora"
        return "base" if self.model.provenance is None else "full"

    @property
    def size(self) -> int | None:
        """Bytes on the disk; None for a base."""
        return self.model.size if self.lora is None else self.lora.size


class ServedModels:
    """The served models and their LoRAs, which come and go.

    Args:
        backend: serves them.
        settings: the limits.
    """

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self._backend = backend
        self._settings = settings

    @property
    def models(self) -> Sequence[ServedModel]:
        """The models that were loaded at the start; the first is the default."""
        return self._backend.models

    @property
    def names(self) -> Sequence[str]:
        """The names of the models that were loaded at the start."""
        return [model.name for model in self.models]

    @property
    def aliases(self) -> Mapping[str, str]:
        """Further names, and the models that they stand for, which may not be there."""
        return self._settings.model_aliases

    def resolve(self, name: str) -> str:
        """The name of the model that a client means."""
        return self.aliases.get(name, name)

    async def refresh(self) -> None:
        """Have the next ``snapshot`` know what has been added or removed until now."""
        await self._backend.refresh()

    async def learn(self) -> None:
        """Have the next ``snapshot`` know how large pictures may be, as soon as the worker does."""
        await self._backend.learn()

    async def states(self) -> Mapping[str, ModelState]:
        """See ``Backend.states``."""
        return await self._backend.states()

    async def load(self, name: str) -> None:
        """See ``Backend.load``."""
        await self._backend.load(name)

    async def unload(self, name: str) -> None:
        """See ``Backend.unload``."""
        await self._backend.unload(name)

    def snapshot(self) -> ModelSnapshot:
        """Everything that could be named at the last ``refresh``."""
        models = tuple(self._backend.models)
        names = {model.name for model in models}
        loras = self._backend.loras
        usable = [lora for lora in loras if lora.base in names and lora.name not in names]
        return ModelSnapshot(models, tuple(usable), self._settings)


class ModelSnapshot:
    """The served models with the LoRAs of one moment.

    Args:
        models: the first is the default.
        loras: LoRAs of these models, none with the name of a model.
        settings: the limits.
    """

    def __init__(
        self, models: Sequence[ServedModel], loras: Sequence[ServedLora], settings: Settings
    ) -> None:
        self.models = models
        self._loras = loras
        self._settings = settings

    @property
    def loras(self) -> Sequence[ServedLora]:
        """The LoRAs that can be used; none where the models are compiled."""
        return () if self._compiled else self._loras

    def choices(self) -> list[ModelChoice]:
        """Everything that ``model`` may name, but for ``auto``; the default first."""
        models = {model.name: model for model in self.models}
        tuned = [ModelChoice(models[lora.base], lora) for lora in self.loras]
        return [*map(ModelChoice, models.values()), *tuned]

    def choose(
        self, name: str | None, prompt: str, task: Task, loras: Sequence[LoraParameter] = ()
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
            raise _refused(
                "model",
                lambda name: (
                    f"{name('model')} must be one that can do {task}; {choice.name} can do "
                    f"{', '.join(choice.model.tasks)}"
                ),
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

    def _uses(self, choice: ModelChoice, wanted: Sequence[LoraParameter]) -> tuple[LoraUse, ...]:
        if wanted and self._compiled:
            raise _refused("loras", lambda name: self._no_loras(name("loras")))
        loras = [] if choice.lora is None else [(choice.lora, 1.0)]
        for index, use in enumerate(wanted):
            field = f"loras.{index}.name"
            lora = self._lora(use.name, choice, field)
            if any(lora.name == other.name for other, _ in loras):
                raise _repeated(field, lora, is_model=lora == choice.lora)
            loras.append((lora, use.scale))
        memory = sum(lora.memory for lora, _ in loras)
        if memory > self._settings.lora_memory:
            message = (
                f"the weights of all LoRAs of a request must take at most "
                f"{int(self._settings.lora_memory)} bytes, got {memory}"
            )
            raise _refused("loras" if wanted else "model", lambda _: message)
        return tuple(LoraUse(lora.tag, scale) for lora, scale in loras)

    @property
    def _compiled(self) -> bool:
        return not self._settings.offers_loras

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
        if self._compiled and any(name == lora.name for lora in self._loras):
            raise _refused(
                "model", lambda given: f"{self._no_loras(given('model'))}, got {shown(name)}"
            )
        names = _listed(choice.name for choice in choices)
        raise ParameterError(
            ErrorCode.NOT_FOUND,
            "model",
            lambda given: f"{given('model')} must be {AUTO} or one of {names}, got {shown(name)}",
        )

    def _lora(self, name: str, choice: ModelChoice, field: str) -> ServedLora:
        base = choice.model.name
        lora = next((lora for lora in self.loras if lora.name == name), None)
        if lora is None:
            names = _listed(lora.name for lora in self.loras if lora.base == base)
            raise ParameterError(
                ErrorCode.NOT_FOUND,
                field,
                lambda given: (
                    f"{given(field)} must be a LoRA of {base}, which are {names}; got {shown(name)}"
                ),
            )
        if lora.base != base:
            raise _refused(
                field,
                lambda given: (
                    f"{given(field)} must be a LoRA of {base}, got {shown(name)}, "
                    f"which is one of {lora.base}"
                ),
            )
        return lora


def _place(token: str, prompt: str) -> int | None:
    """The index of the token in the prompt, as a word of its own; None if it is not there."""
    match = re.search(rf"(?<!\w){re.escape(token)}(?!\w)", prompt, re.IGNORECASE)
    return None if match is None else match.start()


def _listed(names: Iterable[str]) -> str:
    """The names, for a sentence; of very many, the first."""
    listed = list(islice(names, _LISTED + 1))
    more = ", ... (GET /models has all)" if len(listed) > _LISTED else ""
    return (", ".join(listed[:_LISTED]) or "none") + more


def _repeated(field: str, lora: ServedLora, *, is_model: bool) -> ParameterError:
    own = " and is the model itself" if is_model else ""
    return _refused(
        field,
        lambda name: (
            f"{name(field)} must be one that is not there yet, got {shown(lora.name)} again{own}"
        ),
    )


def _refused(field: str, sentence: Callable[[Names], str]) -> ParameterError:
    return ParameterError(ErrorCode.OUT_OF_RANGE, field, sentence)
