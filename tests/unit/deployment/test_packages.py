"""The hashes of what an image installs."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deployment.bento.packages import (
    EXTRAS,
    ROOT,
    UNHASHED,
    brought_along,
    entries,
    joined,
    required,
)

LOCK = ROOT / "requirements.lock"
# And what says their versions.
HASHES = {
    ROOT / "requirements.hashes": [LOCK],
    ROOT / "ui" / "requirements.hashes": [ROOT / "ui" / "requirements.lock"],
    **{
        ROOT / f"requirements-{extra}.hashes": [ROOT / f"requirements-{extra}.txt", LOCK]
        for extra in EXTRAS
    },
}


def pins(text: str) -> dict[str, str]:
    return {name: entry.split()[0].partition("==")[2] for name, entry in entries(text).items()}


@pytest.mark.parametrize("file", HASHES, ids=lambda file: str(file.relative_to(ROOT)))
def test_each_package_is_pinned_as_the_lock_says_and_has_its_hashes(file: Path) -> None:
    versions = {
        canonicalize_name(item.name): str(item.specifier) for item in required(*HASHES[file])
    }
    text = file.read_text()

    assert pins(text)
    for name, version in pins(text).items():
        assert versions[canonicalize_name(name)] == f"=={version}", name
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
    name, version = "ftfy", pins(joined([]))["ftfy"]
    with zipfile.ZipFile(tmp_path / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        info = f"{name}-{version}.dist-info"
        described = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        wheel.writestr(f"{info}/METADATA", described)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    wanted = tmp_path / "requirements.hashes"
    wanted.write_text(entries(joined([]))[name])
    command = [sys.executable, "-m", "pip", "--isolated", "install", "--dry-run", "--no-deps"]
    command += ["--ignore-installed", "--no-index", f"--find-links={tmp_path}", "--require-hashes"]
    done = subprocess.run([*command, "-r", str(wanted)], capture_output=True, text=True)

    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
