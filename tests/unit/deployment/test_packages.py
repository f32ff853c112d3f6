"""The hashes of what an image installs."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deployment.bento.packages import (
    EXTRAS,
    ROOT,
    UNHASHED,
    brought_along,
    entries,
    joined,
    required,
)

HASHES = {extra: ROOT / f"requirements-{extra}.hashes" for extra in EXTRAS}
HASHES[""] = ROOT / "requirements.hashes"


def pins(text: str) -> dict[str, str]:
    return {name: entry.split()[0].partition("==")[2] for name, entry in entries(text).items()}


@pytest.mark.parametrize("file", HASHES.values(), ids=lambda file: file.name)
def test_each_package_is_pinned_as_the_lock_says_and_has_its_hashes(file: Path) -> None:
    """Or as its own requirements say, where the lock has nothing of it."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    locked = {
        item.name.lower().replace("_", "-").replace(".", "-"): item
        for item in map(Requirement, lines)
    }
    own = {item.name: item for item in required(file.with_suffix(".txt"))}
    text = file.read_text()

    assert pins(text)
    for name, version in pins(text).items():
        assert str(locked.get(name, own.get(name)).specifier) == f"=={version}", name
    for name, entry in entries(text).items():
        first, *hashes = entry.splitlines()
        assert re.fullmatch(r"[a-z0-9-]+==[^ ]+ \\", first), name
        assert hashes, name
        assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line) for line in hashes)


def test_all_that_the_requirements_bring_along_is_there_but_for_torch() -> None:
    """Of what is installed here."""
    base = ROOT / "requirements.txt"
    for extras in ([], ["s3", "nsfw"]):
        optional = [ROOT / f"requirements-{extra}.txt" for extra in extras]
        assert pins(joined(extras)) == {
            name: version
            for name, version in brought_along(required(base, *optional)).items()
            if name not in UNHASHED
        }


def test_extras_of_packages_count() -> None:
    assert "greenlet" in brought_along([Requirement("sqlalchemy[asyncio]")])
    assert brought_along([Requirement("nowhere==1.2.3")]) == {"nowhere": "1.2.3"}


def test_another_file_of_that_version_is_refused(tmp_path: Path) -> None:
    """By pip, as the image calls it."""
    (name, version), *_ = (
        (name, version) for name, version in pins(joined([])).items() if name == "ftfy"
    )
    with zipfile.ZipFile(tmp_path / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        info = f"{name}-{version}.dist-info"
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    wanted = tmp_path / "requirements.hashes"
    wanted.write_text(entries(joined([]))[name])
    command = [sys.executable, "-m", "pip", "--isolated", "install", "--dry-run", "--no-deps"]
    command += ["--ignore-installed", "--no-index", f"--find-links={tmp_path}", "--require-hashes"]
    done = subprocess.run([*command, "-r", str(wanted)], capture_output=True, text=True)

    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
