from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deployment import release
from deployment.bento.build import commit_time
from deployment.bento.packages import brought_along


def packed(folder: Path) -> bytes:
    stream = io.BytesIO()
    release.pack(folder, stream, 1_700_000_000)
    return stream.getvalue()


def test_an_archive_depends_on_the_content_alone(tmp_path: Path) -> None:
    for name, order in (("one", "ab"), ("two", "ba")):
        folder = tmp_path / name
        (folder / "empty").mkdir(parents=True)
        for letter in order:
            (folder / letter).write_text(letter)
            os.utime(folder / letter, (len(name), hash(name) % 1000))
    (tmp_path / "two" / "a").chmod(0o600)
    first, second = packed(tmp_path / "one"), packed(tmp_path / "two")

    assert first == second
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        assert archive.getnames() == ["a", "b", "empty"]
    (tmp_path / "two" / "a").write_text("c")
    assert packed(tmp_path / "two") != first


def test_what_an_apply_has_left_is_not_released(tmp_path: Path) -> None:
    module = tmp_path / "module"
    shutil.copytree(release.TERRAFORM, module, ignore=shutil.ignore_patterns(".terraform*"))
    subprocess.run(["git", "init", "--quiet"], cwd=module, check=True)
    subprocess.run(["git", "add", "."], cwd=module, check=True)
    before = release.released(module)
    for name in ("terraform.tfstate", "pictures.tfvars.json", ".terraform/environment", "plan"):
        (module / name).parent.mkdir(exist_ok=True)
        (module / name).write_text("secret")

    assert release.released(module) == before
    service = Path("modules", "ec2-service")
    assert {service / "main.tf", service / "instance" / "boot.sh", Path("rollout.py")} < before
    assert not [file for file in before if "tests" in file.parts]


def test_the_bill_has_what_the_requirements_bring_along() -> None:
    packages = brought_along([Requirement("bentoml"), Requirement("torch")])

    assert {"bentoml", "torch", "starlette", "sympy"} <= packages.keys()
    assert "pytest" not in packages


def test_the_time_may_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")

    assert commit_time() == 1_700_000_000
