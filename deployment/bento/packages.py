"""The packages of an image: what the requirements bring along, and the hashes of their files.

``requirements.hashes`` has those of requirements.txt, ``requirements-EXTRA.hashes`` what an extra
adds: the versions of requirements.lock, with the SHA-256 of each file that the package index has of
them. Left out is torch, with what only it brings along for CUDA: its builds come from an index of
its own. ``python -m deployment.bento.packages`` writes them; ``make lock`` does that.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final, get_args

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deployment.bento.recipe import Extra

ROOT: Final = Path(__file__).parents[2]
# What a Bento may have beside requirements.txt, by the name in requirements-NAME.txt.
EXTRAS: Final = ("s3", *get_args(Extra))
# From an index of its own, in another build for each device.
UNHASHED: Final = frozenset({"torch"})
HEADER: Final = "# Written by `make lock`, of requirements.lock; deployment/bento/packages.py.\n"


def flat(requirements: Path) -> str:
    """A requirements file with those that it names (``-r``) in their places, without comments.

    BentoML does that too, but merges the lines of the files by their numbers.
    """
    lines: list[str] = []
    for line in requirements.read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            lines.append(flat(requirements.parent / line.removeprefix("-r ").strip()))
        elif line and not line.startswith("#"):
            lines.append(f"{line}\n")
    return "".join(lines)


def required(*files: Path) -> list[Requirement]:
    """What requirements files ask for."""
    lines = "".join(flat(file) for file in files).splitlines()
    return [Requirement(line) for line in lines if not line.startswith("--")]


def brought_along(requirements: Iterable[Requirement]) -> dict[str, str]:
    """These and all that they need, by name, with the versions that are installed here.

    What is pinned and not installed stands for itself.

    Raises:
        PackageNotFoundError: something that is not pinned is not installed.
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = list(requirements)
    while waiting:
        item = waiting.pop()
        name = canonicalize_name(item.name)
        extras = frozenset(item.extras) | {""}
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pins = (one.version for one in item.specifier if one.operator == "==")
            pin = next(pins, None)
            if pin is None:
                raise
            found[name] = pin
            continue
        needed = (Requirement(line) for line in metadata.requires(name) or [])
        waiting += [
            other
            for other in needed
            if other.marker is None
            or any(other.marker.evaluate({"extra": extra}) for extra in extras)
        ]
    return dict(sorted(found.items()))


def hashes_of(requirements: Path) -> Path:
    """Where the hashes of a requirements file are."""
    return requirements.with_suffix(".hashes")


def joined(extras: Iterable[str]) -> str:
    """The hashes of requirements.txt and of extras, each package once, in pip's form."""
    names = ("requirements", *(f"requirements-{extra}" for extra in extras))
    packages: dict[str, str] = {}
    for name in names:
        packages |= entries((ROOT / f"{name}.hashes").read_text(encoding="utf-8"))
    return "".join(text for _, text in sorted(packages.items()))


def entries(hashes: str) -> dict[str, str]:
    """The parts of a file of hashes, ``NAME==VERSION`` with the lines of its hashes, by name."""
    found: dict[str, str] = {}
    name = ""
    for line in hashes.splitlines(keepends=True):
        if line.startswith("#"):
            continue
        if not line.startswith(" "):
            name = line.partition("==")[0]
            found[name] = ""
        found[name] += line
    return found


def write(uv: Sequence[str]) -> None:
    """Write the files of hashes anew, of what is installed here; and that of the page.

    Args:
        uv: how uv is called; it asks the package index.
    """
    base = brought_along(required(ROOT / "requirements.txt"))
    # These count: of setuptools each environment has its own.
    locked: dict[str, str] = {
        canonicalize_name(item.name): str(item.specifier).removeprefix("==")
        for item in required(ROOT / "requirements.lock")
    }
    for extra in ("", *EXTRAS):
        file = ROOT / (f"requirements-{extra}.txt" if extra else "requirements.txt")
        packages = {
            name: locked.get(name, version)
            for name, version in brought_along(required(file)).items()
            if name not in UNHASHED and not (extra and name in base)
        }
        pins = "".join(f"{name}=={version}\n" for name, version in packages.items())
        hashes_of(file).write_text(_hashed(uv, pins), encoding="utf-8")
    page = ROOT / "ui" / "requirements.lock"
    hashes_of(page).write_text(_hashed(uv, page.read_text(encoding="utf-8")), encoding="utf-8")


def _hashed(uv: Sequence[str], pins: str) -> str:
    """Pinned requirements with the hashes of their files."""
    done = subprocess.run(
        [
            *(*uv, "pip", "compile", "--quiet", "--no-deps", "--generate-hashes"),
            *("--no-header", "--no-annotate", "--python-version", "3.11", "-"),
        ],
        input=pins,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return HEADER + done.stdout


if __name__ == "__main__":
    write(sys.argv[1:])
