"""``python -m api.keys create|list|revoke``: the API keys of a file, which has hashes only."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from api.keys import store
from api.keys.document import UnusableKeys, line, named
from api.keys.key import Key, new_key
from api.keys.scopes import Scope

_LIMITS = ("rate", "pictures_per_day", "pixel_steps_per_day", "max_queued", "priority")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 for a failure."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        match options.command:
            case "create":
                _create(options)
            case "list":
                _list(store.read(_file(options)), options.json)
            case _:
                _revoke(_file(options), options.name)
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
    parser.add_argument(
        "--file",
        type=Path,
        default=os.environ.get("SD_API_KEYS_FILE"),
        help="of the keys; default: SD_API_KEYS_FILE",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser(
        "create",
        help="make a key and print it, once; without a file, also what SD_API_KEYS has to hold",
    )
    create.add_argument("name", help="for people: letters, digits and ._@-")
    create.add_argument("--scope", choices=[*Scope], default=Scope.GENERATE)
    create.add_argument("--rate", help="requests in a time, such as 60/minute")
    create.add_argument("--pictures-per-day", type=int, help="in 24 hours")
    create.add_argument(
        "--pixel-steps-per-day", type=int, help="in 24 hours: width x height x steps of pictures"
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
    return parser


def _file(options: argparse.Namespace) -> Path:
    if options.file is None:
        raise UnusableKeys("which file? Give --file, or set SD_API_KEYS_FILE")
    return Path(options.file)


def _create(options: argparse.Namespace) -> None:
    limits = {name: getattr(options, name) for name in _LIMITS}
    text, key = new_key(options.name, scope=options.scope, **limits)

    def with_it(keys: dict[str, Key]) -> dict[str, Key]:
        if named(keys, key.name) is not None:
            raise UnusableKeys(f"there is a key with the name {key.name} already")
        return {**keys, key.id: key}

    if options.file is None:
        stored = line(key)
        if any(value not in (None, 1) for value in limits.values()):
            stored = json.dumps({"keys": [json.loads(key.model_dump_json(exclude_none=True))]})
        print(f"for SD_API_KEYS: {stored}", file=sys.stderr)
    else:
        store.change(_file(options), with_it)
    # Alone, for scripts. It is nowhere else.
    print(text)


def _list(keys: dict[str, Key], as_json: bool) -> None:
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


def _revoke(path: Path, name: str) -> None:
    def without_it(keys: dict[str, Key]) -> dict[str, Key]:
        key = named(keys, name)
        if key is None:
            raise UnusableKeys(f"there is no key with the name or id {name}")
        return {identity: other for identity, other in keys.items() if identity != key.id}

    store.change(path, without_it)


if __name__ == "__main__":
    raise SystemExit(main())
