"""A Terraform root over the module: a provider, and all of the module's variables and outputs.

The module says what its variables are; a root passes on what it was told, and null (which means the
default) for the rest.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

# The module's folder in that of the root.
FOLDER = "ec2-service"

_VARIABLE = re.compile(r'^variable "(\w+)"', re.MULTILINE)
_OUTPUT = re.compile(r'^output "(\w+)"', re.MULTILINE)
# Of a deployment that was made in the module's own folder: its state, values and lock are its own.
_NOT_COPIED = shutil.ignore_patterns(
    *("tests", ".terraform*", "*.tfstate*", "*.tfvars*", "override.tf*", "*_override.tf*")
)


def variables(module: Path) -> list[str]:
    """The names of a module's variables, in their order."""
    return _VARIABLE.findall((module / "variables.tf").read_text(encoding="utf-8"))


def write(module: Path, destination: Path) -> list[str]:
    """Copy the module into a folder of the destination, and write a root over it.

    Returns:
        The files of the root.
    """
    shutil.copytree(module, destination / FOLDER, ignore=_NOT_COPIED, dirs_exist_ok=True)
    shutil.copy(module / "versions.tf", destination / "versions.tf")
    root = destination / "main.tf.json"
    described = _root(variables(module), _outputs(module))
    root.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    return [str(root), str(destination / "versions.tf")]


def _outputs(module: Path) -> list[str]:
    return _OUTPUT.findall((module / "outputs.tf").read_text(encoding="utf-8"))


def _root(names: list[str], outputs: list[str]) -> dict[str, Any]:
    # A provider's tags are on everything, also on what the module has not tagged.
    tags = {"ManagedBy": "terraform", "Deployment": "${var.deployment_name}"}
    return {
        "provider": {"aws": {"region": "${var.region}", "default_tags": {"tags": tags}}},
        "variable": {
            "region": {"type": "string", "description": "AWS region."},
            **{name: {"type": "any", "default": None} for name in names},
        },
        "module": {
            "service": {"source": f"./{FOLDER}", **{name: f"${{var.{name}}}" for name in names}}
        },
        "output": {name: {"value": f"${{module.service.{name}}}"} for name in outputs},
    }
