"""``python -m api.keys create|list|revoke``: the API keys of a file or of the store of predictions,
which have hashes only."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from api.keys import file, in_store
from api.keys.document import UnusableKeys, line, named
from api.keys.key import Key, new_key
from api.keys.scopes import Scope
from settings.store import AUTO, StoreSettings

_LIMITS: Final = ("rate", "pictures_per_day", "pixel_steps_per_day", "max_queued", "priority")

Keys = dict[str, Key]


@dataclass(frozen=True, slots=True)
class Place:
    """Where keys are: how they are read, and replaced by what a function makes of them."""

    read: Callable[[], Keys]
    change: Callable[[Callable[[Keys], Keys]], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 for a failure."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        match options.command:
            case "create":
                _create(options, _place(options))
            case "list":
                _list(_named(_place(options)).read(), options.json)
            case _:
                _revoke(_named(_place(options)), options.name)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = str(first["loc"][0]).replace("_", "-")
        print(f"error: {option}: {first['msg']}, got {first['input']}", file=sys.stderr)
        return 1
    except (UnusableKeys, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m api.keys", description=__doc__)
    parser.add_argument("--file", type=Path, help="of the keys; default: SD_API_KEYS_FILE")
    parser.add_argument(
        "--store",
        help="a folder or postgresql+asyncpg://..., in place of a file; default: SD_STORE, where "
        "SD_API_KEYS_IN_STORE is true",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser(
        "create",
        help="make a key and print it, once; without a file, also what SD_API_KEYS has to hold",
    )
    create.add_argument("name", help="for people: letters, digits and ._@-")
    create.add_argument("--scope", choices=[*Scope], default=Scope.GENERATE)
    create.add_argument("--rate", help="requests in a time, such as 60/minute")
    create.add_argument("--pictures-per-day", type=int, help="from midnight to midnight (UTC)")
    create.add_argument(
        "--pixel-steps-per-day", type=int, help="likewise: width x height x steps of pictures"
    )
    create.add_argument("--max-queued", type=int, help="pictures waiting or being made")
    create.add_argument(
        "--priority", type=int, default=1, help="share of the time, against keys with 1: up to 100"
    )
    listed = commands.add_parser("list", help="show the keys, without themselves")
    listed.add_argument("--json", action="store_true")
    revoke = commands.add_parser("revoke", help="forget a key: it opens nothing any more")
    revoke.add_argument("name", help="its name or id")
    for command in (create, listed, revoke):
        # After the command, where people write it, as well.
        command.add_argument("--file", type=Path, default=argparse.SUPPRESS, help="see above")
        command.add_argument("--store", default=argparse.SUPPRESS, help="see above")
    return parser


def _place(options: argparse.Namespace) -> Place | None:
    """Where the keys are to be, by the options or else by the environment; None for nowhere."""
    path, where = options.file, options.store
    if path is None and where is None:
        path = os.environ.get("SD_API_KEYS_FILE")
        if TypeAdapter(bool).validate_python(os.environ.get("SD_API_KEYS_IN_STORE", "false")):
            where = os.environ.get("SD_STORE", AUTO)
    if path is not None and where is not None:
        raise UnusableKeys("in the file, or in the store? Give --file or --store")
    if path is not None:
        return Place(partial(file.read, Path(path)), partial(file.change, Path(path)))
    if where is not None:
        settings = StoreSettings(store=where)
        return Place(partial(in_store.read, settings), partial(in_store.change, settings))
    return None


def _named(place: Place | None) -> Place:
    if place is None:
        raise UnusableKeys("which file? Give --file or --store, or set SD_API_KEYS_FILE")
    return place


def _create(options: argparse.Namespace, place: Place | None) -> None:
    limits = {name: getattr(options, name) for name in _LIMITS}
    text, key = new_key(options.name, scope=options.scope, **limits)

    def with_it(keys: Keys) -> Keys:
        if named(keys, key.name) is not None:
            raise UnusableKeys(f"there is a key with the name {key.name} already")
        return {**keys, key.id: key}

    if place is None:
        stored = line(key)
        if any(value not in (None, 1) for value in limits.values()):
            stored = json.dumps({"keys": [json.loads(key.model_dump_json(exclude_none=True))]})
        print(f"for SD_API_KEYS: {stored}", file=sys.stderr)
    else:
        place.change(with_it)
    # Alone, for scripts. It is nowhere else.
    print(text)


def _list(keys: Keys, as_json: bool) -> None:
    if as_json:
        shown = [
            key.model_dump(mode="json", exclude={"sha256"}, exclude_none=True)
            for key in keys.values()
        ]
        print(json.dumps(shown, indent=2))
        return
    for key in keys.values():
        limits = [
            f"{name}={value}" for name in _LIMITS if (value := getattr(key, name)) not in (None, 1)
        ]
        print(key.id, key.name, key.scope, *limits)


def _revoke(place: Place, name: str) -> None:
    def without_it(keys: Keys) -> Keys:
        key = named(keys, name)
        if key is None:
            raise UnusableKeys(f"there is no key with the name or id {name}")
        return {identity: other for identity, other in keys.items() if identity != key.id}

    place.change(without_it)


if __name__ == "__main__":
    raise SystemExit(main())
