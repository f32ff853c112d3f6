"""Repairs of bentoctl 0.4.0 from within, as it imports an operator before it works.

- It ends with exit code 0 whatever happens: its own errors, and a failed Terraform, now end it with
  1 and the cause on stderr.
- It opens Bentos by a method that BentoML no longer has, and its BentoML refuses those that a newer
  one has built, for fields that it does not know.
- It tags images in a way that docker understands and podman does not.
- It applies without an image, and believes an apply that has made nothing.

Run as a program, this file is ``bentoctl`` with all of that from the very first moment, so also for
what goes wrong before an operator is imported: ``python bentoctl_repairs.py apply --auto-approve``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import attr
import bentoctl.cli
import bentoctl.deployment_config
import bentoctl.docker_utils
import bentoctl.utils.terraform as terraform
import docker
from bentoctl.exceptions import BentoctlException
from bentoml._internal.bento.build_config import PythonOptions
from bentoml._internal.utils.cattr import bentoml_cattr

VALUES = Path("bentoctl.tfvars")


def apply() -> None:
    """Put bentoctl right, in this process."""
    BentoctlException.show = _fail
    terraform.terraform_run = _terraform
    bentoctl.deployment_config.Bento.from_fs = _bento_from_fs
    bentoctl.docker_utils.container.health = _healthy
    bentoctl.cli.tag_docker_image = _tag_image
    bentoml_cattr.register_structure_hook(PythonOptions, _python_options)


def _fail(error: BentoctlException) -> NoReturn:
    """In the place of a print, after which bentoctl ends with 0."""
    print(f"Error: {error}", file=sys.stderr)
    raise SystemExit(1)


def _terraform(command: list[str], return_output: bool = False) -> tuple[int, str, str] | None:
    """Run Terraform here; a failure is one."""
    program = shutil.which("terraform")
    if program is None:
        raise BentoctlException("terraform is not installed, or not in PATH")
    if return_output:
        process = subprocess.run([program, *command], capture_output=True, text=True, check=False)
        return process.returncode, process.stdout, process.stderr
    if command[0] == "apply" and "image_uri" not in _values():
        raise BentoctlException(f"{VALUES} names no image: run bentoctl build first")
    _checked([program, *command])
    if command[0] == "apply" and "-destroy" not in command:
        _checked([program, "output", "-raw", "endpoint"])
    return None


def _checked(command: list[str]) -> None:
    status = subprocess.run(command, check=False).returncode
    if status:
        raise BentoctlException(f"terraform {command[1]} ended with exit code {status}")


def _values() -> str:
    return VALUES.read_text(encoding="utf-8") if VALUES.exists() else ""


def _bento_from_fs(folder: Any) -> Any:
    return bentoctl.deployment_config.Bento.from_path(folder.getsyspath("/"))


def _python_options(fields: dict[str, Any], _: type) -> Any:
    known = {field.name for field in attr.fields(PythonOptions)}
    return PythonOptions(**{name: value for name, value in fields.items() if name in known})


def _tag_image(image: str, tag: str) -> None:
    repository, _, version = tag.rpartition(":")
    docker.from_env().images.get(image).tag(repository, version)


def _healthy(backend: str) -> bool:
    """Called before a build; bentoctl goes on whatever this returns."""
    if not bentoctl.docker_utils.container.get_backend(backend).health():
        raise BentoctlException("docker with buildx is needed: is it installed, and running?")
    return True


if __name__ == "__main__":
    apply()
    bentoctl.cli.bentoctl()
