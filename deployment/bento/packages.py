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


def joined(extras: Iterable[str]) -> str:
    """The hashes of requirements.txt and of extras, each package once, in pip's form."""
    packages: dict[str, str] = {}
    for extra in ("", *extras):
        file = _requirements(extra).with_suffix(".hashes")
        packages |= entries(file.read_text(encoding="utf-8"))
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
    base = brought_along(required(_requirements("")))
    # These count: of setuptools each environment has its own.
    locked: dict[str, str] = {
        canonicalize_name(item.name): str(item.specifier).removeprefix("==")
        for item in required(ROOT / "requirements.lock")
    }
    for extra in ("", *EXTRAS):
        file = _requirements(extra)
        packages = {
            name: locked.get(name, version)
            for name, version in brought_along(required(file)).items()
            if name not in UNHASHED and not (extra and name in base)
        }
        pins = "".join(f"{name}=={version}\n" for name, version in packages.items())
        _write_hashes(uv, file, pins)
    page = ROOT / "ui" / "requirements.lock"
    _write_hashes(uv, page, page.read_text(encoding="utf-8"))


def _requirements(extra: str) -> Path:
    """The requirements file of an extra, or, without a name, of what every Bento has."""
    return ROOT / (f"requirements-{extra}.txt" if extra else "requirements.txt")


def _write_hashes(uv: Sequence[str], requirements: Path, pins: str) -> None:
    """Write what is pinned, with the hashes of its files, beside a file of requirements."""
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
    requirements.with_suffix(".hashes").write_text(HEADER + done.stdout, encoding="utf-8")


if __name__ == "__main__":
    write(sys.argv[1:])
