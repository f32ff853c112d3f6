"""bentoctl in an environment of its own, with a deployment's folder and a home."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT

TOOLS = Path(os.environ.get("BENTOCTL_TOOLS", ROOT / ".venv-bentoctl")) / "bin"
FOLDER = ROOT / "deployment" / "bentoctl"
OPERATOR = FOLDER / "operator"
WRAPPER = FOLDER / "bin" / "bentoctl"


class Deployment:
    """A folder with a deployment's configuration, and a bentoctl with a home of its own."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder / "deployment"
        self.folder.mkdir()
        self.home = home
        self.programs = folder / "programs"
        self.programs.mkdir()
        self.configure()

    def configure(self, **spec: Any) -> None:
        """Write the configuration that we ship, with changes of its ``spec``."""
        config = yaml.safe_load((FOLDER / "deployment_config.yaml").read_text())
        config["spec"] |= spec
        (self.folder / "deployment_config.yaml").write_text(yaml.safe_dump(config))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env={
                "PATH": f"{self.programs}:{TOOLS}:{os.environ['PATH']}",
                "HOME": str(self.home),
                "BENTOCTL_HOME": str(self.home),
                "BENTOML_HOME": str(self.home / "bentoml"),
                "BENTOML_DO_NOT_TRACK": "True",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def bentoctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("bentoctl", *arguments)

    @property
    def values(self) -> str:
        return (self.folder / "bentoctl.tfvars").read_text()
