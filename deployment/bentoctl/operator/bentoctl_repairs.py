"""Repairs of bentoctl 0.4.0 from within, as it imports an operator before it works.

- It ends with exit code 0 whatever happens: its own errors, and a failed Terraform, now end it with
  1 and the cause on stderr.
- It opens Bentos by a method that BentoML no longer has, and its BentoML refuses those that a newer
  one has built, for fields that it does not know.
- It tags images in a way that docker understands and podman does not, and gives up a push of which
  it has heard nothing for a minute: podman says nothing until a layer of gigabytes is compressed.
- It applies without an image, and believes an apply that has made nothing.
- It fetches operators that it knows by name from GitHub, and runs what comes. `aws-ec2`, which its
  tutorials name, is ours; the others are refused.
- It builds a Bento for a CPU into a deployment with GPUs, where it would serve from the CPU, and a
  Bento for a GPU into one without.

Run as a program, this file is ``bentoctl`` with all of that from the very first moment, so also for
what goes wrong before an operator is imported: ``python bentoctl_repairs.py apply --auto-approve``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import attr
import bentoctl.cli
import bentoctl.deployment_config
import bentoctl.docker_utils
import bentoctl.utils.terraform as terraform
import docker
from bentoctl.exceptions import BentoctlException
from bentoctl.operator.constants import OFFICIAL_OPERATORS
from bentoctl.operator.registry import OperatorRegistry
from bentoml._internal.bento.build_config import PythonOptions
from bentoml._internal.utils.cattr import bentoml_cattr

VALUES = Path("bentoctl.tfvars")
OPERATOR = Path(__file__).resolve().parent
# Its own, and the one that a tutorial's file has.
NAMES = ("aws-ec2-asg", "aws-ec2")
# How long docker, or what stands for it, may be silent.
SILENT_SECONDS = 3600


def apply() -> None:
    """Put bentoctl right, in this process."""
    BentoctlException.show = _fail
    terraform.terraform_run = _terraform
    bentoctl.deployment_config.Bento.from_fs = _bento_from_fs
    bentoctl.docker_utils.container.health = _healthy
    bentoctl.cli.tag_docker_image = _tag_image
    bentoml_cattr.register_structure_hook(PythonOptions, _python_options)
    # This file may be loaded twice: as the program, and by the operator.
    if not hasattr(OperatorRegistry, "repaired"):
        OperatorRegistry.repaired = True
        docker.from_env = partial(docker.from_env, timeout=SILENT_SECONDS)
        OperatorRegistry.install_operator = _installing_ours(OperatorRegistry.install_operator)
        OperatorRegistry._write_to_file = _by_both_names(OperatorRegistry._write_to_file)
        config = bentoctl.deployment_config.DeploymentConfig
        config.set_bento = _setting_what_fits(config.set_bento)


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


def _installing_ours(install: Callable[..., str]) -> Callable[..., str]:
    def _install(registry: Any, name: str, version: str | None = None) -> str:
        if name in NAMES or Path(name).resolve() == OPERATOR:
            if NAMES[0] not in registry.operators_list:
                install(registry, str(OPERATOR))
            return NAMES[0]
        if name in OFFICIAL_OPERATORS:
            raise BentoctlException(
                f"{name} would be fetched from GitHub and run here, and nobody maintains it; the "
                f"operator of this repository is {NAMES[0]}, also by the name {NAMES[1]}"
            )
        return install(registry, name, version)

    return _install


def _by_both_names(write: Callable[..., None]) -> Callable[..., None]:
    """Nothing is fetched by a name that is in the list."""

    def _write(registry: Any) -> None:
        ours = registry.operators_list.get(NAMES[0])
        if ours is not None:
            registry.operators_list[NAMES[1]] = ours
        else:
            registry.operators_list.pop(NAMES[1], None)
        write(registry)

    return _write


def _setting_what_fits(set_bento: Callable[..., None]) -> Callable[..., None]:
    def _set(config: Any, tag: str) -> None:
        set_bento(config, tag)
        device = config.bento.info.labels.get("device")
        gpus = config.operator_spec["enable_gpus"]
        if device is not None and (device == "cuda") != gpus:
            wanted = "cuda" if gpus else "cpu"
            raise BentoctlException(
                f"{config.bento.tag} is built for {device} (its label device), and enable_gpus is "
                f"{str(gpus).lower()}: build one with make bento DEVICE={wanted}, or change "
                "enable_gpus and instance_type"
            )

    return _set


def _healthy(backend: str) -> bool:
    """Called before a build; bentoctl goes on whatever this returns."""
    if not bentoctl.docker_utils.container.get_backend(backend).health():
        raise BentoctlException("docker with buildx is needed: is it installed, and running?")
    return True


if __name__ == "__main__":
    apply()
    bentoctl.cli.bentoctl()
