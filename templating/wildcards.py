"""Lists that templates choose from by name: ``__colour__``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from dynamicprompts.commands import Command, WildcardCommand
from dynamicprompts.wildcards.collection import WildcardCollection, WildcardTextFile
from dynamicprompts.wildcards.collection.structured import parse_structured_file
from dynamicprompts.wildcards.values import WildcardValues

from contract.errors import ErrorCode, RequestError
from templating.grammar import parse, restore, walk

MAX_VALUES = 10_000
_NAMED = 20  # names that a message lists


class UnusableWildcards(ValueError):
    """Wildcard files that cannot be served, in a sentence."""


class Wildcards:
    """Values by the name of their wildcard.

    Args:
        values: at least one for every name.
    """

    def __init__(self, values: Mapping[str, WildcardValues]) -> None:
        self._values = dict(sorted(values.items()))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the files of a folder and those below it.

        ``animals/cats.txt`` has a value a line and is ``__animals/cats__``; lines that begin with
        ``#`` are remarks. A ``.yaml`` file has lists under nested keys, which make the name, below
        that of its folder. Values may be templates. Other files are left alone.

        Raises:
            UnusableWildcards: there is no such folder, a file or a value cannot be read, a wildcard
                is empty, too long or there twice, or a value names one that is not there.
        """
        if not folder.is_dir():
            raise UnusableWildcards(f"{folder} is no folder")
        values: dict[str, WildcardValues] = {}
        for path in sorted(folder.rglob("*")):
            if path.suffix not in (".txt", ".yaml"):
                continue
            for name, collection in _read(path, folder):
                if name in values:
                    raise UnusableWildcards(f"{path}: the wildcard {name} is there twice")
                values[name] = _unique(collection)
                if not 0 < len(values[name]) <= MAX_VALUES:
                    raise UnusableWildcards(
                        f"{path}: a wildcard has 1 to {MAX_VALUES} values, {name} has "
                        f"{len(values[name])}"
                    )
        if not values:
            raise UnusableWildcards(f"{folder} has no .txt or .yaml file with wildcards")
        _check(values)
        return cls(values)

    def get(self, name: str) -> WildcardValues:
        """The values of a wildcard. Raises ``RequestError`` where there is none of that name."""
        if name not in self._values:
            raise RequestError(
                ErrorCode.OUT_OF_RANGE,
                f"prompt names the wildcard {name[:80]!a}; there are {self._listed()}",
                field="prompt",
            )
        return self._values[name]

    def _listed(self) -> str:
        names = list(self._values)
        further = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
        return ", ".join([*names[:_NAMED], *further]) or "none here"


NO_WILDCARDS = Wildcards({})


def _read(path: Path, folder: Path) -> list[tuple[str, WildcardCollection]]:
    place = path.relative_to(folder)
    try:
        # The library leaves out what it cannot decode.
        path.read_text(encoding="utf-8")
        if path.suffix == ".txt":
            return [(place.with_suffix("").as_posix(), WildcardTextFile(path))]
        lists = parse_structured_file(path)
        return [((place.parent / name).as_posix(), collection) for name, collection in lists]
    except Exception as error:
        raise UnusableWildcards(f"{path} cannot be read: {error}") from error


def _unique(collection: WildcardCollection) -> WildcardValues:
    return WildcardValues.from_items(dict.fromkeys(collection.get_values()))


def _check(values: Mapping[str, WildcardValues]) -> None:
    for name, items in values.items():
        for value in items.string_values:
            try:
                command = parse(value)
            except RequestError as error:
                raise UnusableWildcards(f"{name}: {value[:80]!a}: {error.message}") from None
            for part in walk(command):
                if not isinstance(part, WildcardCommand) or isinstance(part.wildcard, Command):
                    continue
                if restore(part.wildcard) not in values:
                    raise UnusableWildcards(
                        f"{name}: {value[:80]!a} names the wildcard {part.wildcard}, which is "
                        "not there"
                    )
