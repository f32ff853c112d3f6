"""The deployment's tools, and where they are.

Terraform is looked for in the PATH. Its AWS provider comes from a folder with a mirror of
providers (as ``terraform providers mirror`` writes it): ``TF_PLUGIN_DIR``, or the first of
``/opt/*``, ``/usr/local/share/terraform/*`` and ``~/.terraform.d/*`` that is one; else from
Terraform's registry. The others are in ``.venv-deploy`` (``make deploy-tools``).
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployment.bentoctl.operator import terraform_root
from tests.conftest import ROOT
from tests.integration.server import wait_until

TERRAFORM = ROOT / "deployment" / "terraform"
SOURCE = TERRAFORM / "modules" / "ec2-service"
EKS = ROOT / "deployment" / "eks"
TOOLS = ROOT / ".venv-deploy" / "bin"
_MIRRORS = (Path("/opt"), Path("/usr/local/share/terraform"), Path.home() / ".terraform.d")
_PROVIDER = "registry.terraform.io/hashicorp/aws"


def terraform() -> str:
    """The path of the program; skips the test where there is none."""
    found = shutil.which("terraform")
    if found is None:
        pytest.skip("terraform is not installed")
    return found


def tool(name: str) -> str:
    """The path of a program of requirements-deploy.txt; skips the test where there is none."""
    path = TOOLS / name
    if not path.exists():
        pytest.skip("the deployment's tools are not installed; run: make deploy-tools")
    return str(path)


def mirror() -> str | None:
    """A folder with a mirror of providers."""
    if named := os.environ.get("TF_PLUGIN_DIR"):
        return named
    found = (provider for parent in _MIRRORS for provider in parent.glob(f"*/{_PROVIDER}"))
    return next((str(provider.parents[2]) for provider in found), None)


class MockAws:
    """A running mock of AWS.

    Attributes:
        url: where it listens.
        environment: lets Terraform and the AWS tools talk to it and to nothing else.
    """

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "mock",
            "AWS_SECRET_ACCESS_KEY": "mock",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self._program = str(Path(__file__).with_name("mock_aws.py"))
        self._said = folder / "mock_aws.out"
        with self._said.open("wb") as said, (folder / "mock_aws.log").open("wb") as log:
            self._process = subprocess.Popen(
                [tool("python"), self._program, "serve", str(port)],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=log,
            )

    def ready(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError("the mock of AWS has exited")
        return self._said.read_text().startswith("ready")

    def calls(self) -> list[dict[str, Any]]:
        """What Auto Scaling was asked for, in order: ``call``, and its parameters."""
        return [json.loads(line) for line in self._said.read_text().splitlines()[1:]]

    def inventory(self) -> dict[str, int]:
        """How many resources there are, by kind."""
        done = subprocess.run(
            [tool("python"), self._program, "inventory", self.url], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
        counts: dict[str, int] = json.loads(done.stdout)
        return counts

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def mock_aws(folder: Path) -> Iterator[MockAws]:
    aws = MockAws(folder)
    try:
        wait_until(aws.ready, "the mock of AWS")
        yield aws
    finally:
        aws.stop()


class Module:
    """A Terraform root in a folder, initialised, with a state of its own."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if name[:3] not in ("AWS", "TF_")}
        self.environment = {
            **kept,
            **environment,
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
        }
        providers = mirror()
        origin = [f"-plugin-dir={providers}"] if providers else []
        if (folder / ".terraform.lock.hcl").exists():
            origin.append("-lockfile=readonly")
        done = self.run("init", "-input=false", "-backend=false", *origin, check=False)
        if done.returncode != 0:
            pytest.skip(f"no AWS provider for terraform; set TF_PLUGIN_DIR. {done.stderr[-500:]}")

    @classmethod
    def copied(cls, folder: Path, environment: Mapping[str, str], source: Path) -> Module:
        """A root that is a copy of another one, or of a module for itself, with what it uses."""
        state = shutil.ignore_patterns(".terraform", "*.tfstate*")
        for needed in {source, TERRAFORM / "modules"}:
            target = folder / needed.relative_to(ROOT)
            shutil.copytree(needed, target, ignore=state, dirs_exist_ok=True)
        return cls(folder / source.relative_to(ROOT), environment)

    @classmethod
    def of_the_service(cls, folder: Path, environment: Mapping[str, str]) -> Module:
        """A root over the module of the service, that takes all of its variables."""
        folder.mkdir(exist_ok=True)
        terraform_root.write(SOURCE, folder)
        return cls(folder, environment)

    def run(self, command: str, *arguments: str, check: bool = True) -> Any:
        """Run ``terraform COMMAND``; with ``check``, a failure fails the test with what it said."""
        done = subprocess.run(
            [terraform(), command, *arguments, "-no-color"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"terraform {command}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            )
        return done

    def values(self, name: str, variables: Mapping[str, Any]) -> Path:
        """A file with the values of variables."""
        file = self.folder / f"{name[:100]}.tfvars.json"
        file.write_text(json.dumps(variables))
        return file

    def plan(self, name: str, variables: Mapping[str, Any]) -> Path:
        """Plan with ``variables``, into a file; ``NAME.json`` is the same for reading."""
        values = self.values(name, variables)
        file = self.folder / f"{name}.plan"
        self.run("plan", "-input=false", "-lock=false", f"-var-file={values}", f"-out={file}")
        file.with_suffix(".json").write_text(self.run("show", "-json", str(file)).stdout)
        return file


def planned(plan: Path, address: str) -> dict[str, Any]:
    """What ``plan`` will make of the service's resource at ``address``, as far as it is known."""
    values: dict[str, Any] = next(
        one["values"] for one in resources(plan) if one["address"] == f"module.service.{address}"
    )
    return values


def resources(plan: Path) -> list[dict[str, Any]]:
    """What ``plan`` has of the service."""
    root = json.loads(plan.with_suffix(".json").read_text())["planned_values"]["root_module"]
    (service,) = root["child_modules"]
    found: list[dict[str, Any]] = service["resources"]
    return found


def user_data(plan: Path) -> bytes:
    """An instance's, as EC2 is given it."""
    return base64.b64decode(planned(plan, "aws_launch_template.this")["user_data"])


def cloud_config(plan: Path) -> dict[str, Any]:
    """The user data of an instance: ``write_files`` and ``runcmd``."""
    config = gzip.decompress(user_data(plan)).decode()
    assert config.startswith("#cloud-config\n")
    parsed: dict[str, Any] = yaml.safe_load(config)
    return parsed


def instance_files(plan: Path) -> dict[str, str]:
    """The files that cloud-init writes, by their path."""
    return {file["path"]: file["content"] for file in cloud_config(plan)["write_files"]}
