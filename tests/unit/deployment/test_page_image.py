"""The image of the page: what hadolint does not say of its Dockerfile."""

from __future__ import annotations

import re

from tests.conftest import ROOT
from tests.unit.deployment.dockerfiles import complaints, instructions

UI = ROOT / "ui"
DOCKERFILE = UI / "Dockerfile"
STEPS = instructions(DOCKERFILE.read_text())


def test_it_starts_from_the_image_that_the_service_starts_from() -> None:
    (base,) = [
        arguments.partition("=")[2] for name, arguments in STEPS if "BASE_IMAGE=" in arguments
    ]

    assert complaints(DOCKERFILE) == ""
    assert f'"{base}"' in (ROOT / "deployment" / "container" / "Dockerfile.j2").read_text()
    assert ("FROM", "${BASE_IMAGE}") in STEPS


def test_any_user_of_group_0_runs_it_and_writes_to_tmp_alone() -> None:
    """The root file system may be read-only."""
    text = DOCKERFILE.read_text()
    names = [name for name, _ in STEPS]

    assert names[names.index("USER") :] == ["USER", "ENTRYPOINT"]
    assert dict(STEPS)["USER"] == "1034:0"
    assert "HOME=/tmp" in text
    assert "PYTHONDONTWRITEBYTECODE=1" in text
    # Modes of a checkout are not those of the image.
    copied = [arguments for name, arguments in STEPS if name == "COPY"]
    assert copied[-1] == "--chmod=755 . ./ui/"


def test_what_it_installs_is_pinned() -> None:
    wanted, locked = ((UI / f"requirements.{kind}").read_text() for kind in ("txt", "lock"))
    pins = [line for line in wanted.splitlines() if not line.startswith("#")]

    assert pins
    assert set(pins) <= set(locked.splitlines())
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", line) for line in locked.splitlines())
    hashed = re.findall(r"^[\w-]+==[\w.]+", (UI / "requirements.hashes").read_text(), re.M)
    same = {line.lower().replace("_", "-") for line in locked.splitlines()}
    assert {line.lower() for line in hashed} == same
    assert [arguments for _, arguments in STEPS if "--require-hashes" in arguments]
    assert not re.search(r"^(torch|bentoml|ray)==", locked, re.MULTILINE)
