"""bentoctl with our operator, as far as it goes without AWS: install, generate, and how it fails.

bentoctl runs in an environment of its own, made by ``make bentoctl-tools``.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.e2e.deployment.bentoctl import OPERATOR, TOOLS, WRAPPER, Deployment
from tests.effort import only_in_full

MODULE = ROOT / "deployment" / "terraform" / "modules" / "ec2-service"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/stable-diffusion:0.1.0"

pytestmark = pytest.mark.skipif(
    not (TOOLS / "bentoctl").exists(), reason="bentoctl is not there: make bentoctl-tools"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bentoctl home where our operator is installed."""
    folder = tmp_path_factory.mktemp("install")
    deployment = Deployment(folder, folder / "bentoctl")
    installed = deployment.bentoctl("operator", "install", str(OPERATOR))
    assert installed.returncode == 0, installed.stderr
    return deployment.home


@pytest.fixture
def deployment(tmp_path: Path, home: Path) -> Deployment:
    return Deployment(tmp_path, home)


def test_generate_writes_the_module_and_its_values(deployment: Deployment) -> None:
    deployment.configure(instance_type="g5.xlarge", ami_id="ami-0123456789abcdef0", spot=True)
    generated = deployment.bentoctl("generate")

    assert generated.returncode == 0, generated.stderr
    for file in MODULE.glob("*.tf"):
        assert (deployment.folder / "ec2-service" / file.name).read_text() == file.read_text()
    assert not (deployment.folder / "ec2-service" / "tests").exists()
    root = json.loads((deployment.folder / "main.tf.json").read_text())
    passed_on = set(root["module"]["service"]) - {"source"}
    assert passed_on == variables() == set(root["variable"]) - {"region"}
    assert "endpoint" in root["output"]
    assert deployment.values.splitlines()[1:] == [
        'deployment_name = "stable-diffusion"',
        'allowed_cidrs = ["10.0.0.0/8"]',
        'ami_id = "ami-0123456789abcdef0"',
        'api_keys = "ssm:/stable-diffusion/api-keys"',
        "enable_gpus = true",
        'instance_type = "g5.xlarge"',
        "max_size = 2",
        "min_size = 1",
        'region = "us-east-1"',
        "spot = true",
        'environment = {"SD_LOG_LEVEL": "INFO"}',
    ]


def test_what_another_deployment_has_in_the_module_stays_there(
    deployment: Deployment, tmp_path: Path
) -> None:
    module = tmp_path / "module"
    shutil.copytree(
        MODULE, module, ignore=shutil.ignore_patterns("tests", ".terraform*", "*state*")
    )
    names = {file.name for file in module.iterdir()}
    for name in ("backend_override.tf", "terraform.tfvars.json", "terraform.tfstate"):
        (module / name).write_text("theirs")
    code = (
        "import pathlib, sys, aws_ec2_asg as operator\n"
        "operator.MODULE = pathlib.Path(sys.argv[1])\n"
        "spec = {'allowed_cidrs': ['203.0.113.7/32'], 'allow_anonymous': True}\n"
        "print(*operator.generate('pictures', spec, 'terraform', sys.argv[2], False), sep='\\n')"
    )
    target = deployment.folder
    deployment.folder = OPERATOR
    generated = deployment.run("python", "-B", "-c", code, str(module), str(target))

    assert generated.returncode == 0, generated.stderr
    written = {Path(line).name for line in generated.stdout.split()}
    assert written == {"main.tf.json", "versions.tf", "bentoctl.tfvars"}
    assert {file.name for file in target.iterdir()} == written | {
        *("ec2-service", "deployment_config.yaml")
    }
    assert {file.name for file in (target / "ec2-service").iterdir()} == names


def test_the_image_of_the_last_build_survives_a_change_of_settings(deployment: Deployment) -> None:
    (deployment.folder / "bentoctl.tfvars").write_text(f'image_uri = "{IMAGE}"\n')
    deployment.configure(secrets={"HF_TOKEN": "ssm:/token"}, tags={"a": "${b}"})

    assert deployment.bentoctl("generate").returncode == 0
    lines = deployment.values.splitlines()
    assert f'image_uri = "{IMAGE}"' in lines
    assert 'tags = {"a": "$${b}"}' in lines
    assert 'secrets = {"HF_TOKEN": "ssm:/token"}' in lines


def variables() -> set[str]:
    return set(re.findall(r'^variable "(\w+)"', (MODULE / "variables.tf").read_text(), re.M))


def test_a_spec_may_say_what_the_module_understands(deployment: Deployment) -> None:
    code = "import json, operator_config as o; print(json.dumps(list(o.OPERATOR_SCHEMA)))"
    deployment.folder = OPERATOR
    fields = set(json.loads(deployment.run("python", "-B", "-c", code).stdout))

    own = {"deployment_name", "image_uri", "environment"}
    assert fields == variables() - own | {"region"}


def test_a_wrong_spec_ends_with_the_causes(deployment: Deployment) -> None:
    deployment.configure(min_size="many", instance_typ="g5.xlarge", allowed_cidrs=[], region=None)
    generated = deployment.bentoctl("generate")

    assert generated.returncode == 1
    for cause in (
        "min_size:\n- must be of integer type",
        "instance_typ:\n- unknown field",
        "allowed_cidrs:\n- min length is 1",
        "region:\n- null value not allowed",
    ):
        assert cause in generated.stderr
    assert not (deployment.folder / "main.tf.json").exists()


@pytest.fixture
def tutorial(tmp_path: Path) -> Deployment:
    """A home without any operator, and the file of bentoctl's own tutorial."""
    deployment = Deployment(tmp_path, tmp_path / "bentoctl")
    spec = {
        "region": "us-west-1",
        "instance_type": "g4dn.2xlarge",
        "ami_id": "ami-0123456789abcdef0",
        "enable_gpus": True,
    }
    content = {"api_version": "v1", "name": "pictures", "operator": {"name": "aws-ec2"}}
    content |= {"template": "terraform", "spec": spec, "env": {}}
    (deployment.folder / "deployment_config.yaml").write_text(yaml.safe_dump(content))
    return deployment


def test_the_operator_of_the_tutorial_is_ours(tutorial: Deployment) -> None:
    """By its command and its file as they stand; what they lack is asked for."""
    installed = tutorial.run(str(WRAPPER), "operator", "install", "aws-ec2")
    assert installed.returncode == 0, installed.stderr
    assert "aws-ec2-asg" in installed.stdout
    asked = tutorial.bentoctl("generate", "-f", "deployment_config.yaml")
    assert asked.returncode == 1
    assert "allowed_cidrs, who may reach it" in asked.stderr
    assert "api_keys, where your clients' keys are" in asked.stderr
    file = tutorial.folder / "deployment_config.yaml"
    content = yaml.safe_load(file.read_text())
    content["spec"] |= {"allowed_cidrs": ["203.0.113.7/32"], "api_keys": "ssm:/pictures/api-keys"}
    file.write_text(yaml.safe_dump(content))
    generated = tutorial.bentoctl("generate", "-f", "deployment_config.yaml")
    assert generated.returncode == 0, generated.stderr
    for line in ('region = "us-west-1"', 'instance_type = "g4dn.2xlarge"', "enable_gpus = true"):
        assert line in tutorial.values


@only_in_full
def test_nothing_is_fetched_by_its_name(tutorial: Deployment, home: Path) -> None:
    """Also not by a file, and also where bentoctl is not started through the wrapper."""
    other = tutorial.run(str(WRAPPER), "operator", "install", "aws-lambda")
    assert other.returncode == 1
    assert "aws-lambda would be fetched from GitHub" in other.stderr
    unrepaired = Deployment(tutorial.folder, home)
    assert json.loads((home / "operators" / "operator_list.json").read_text()).keys() == {
        *("aws-ec2", "aws-ec2-asg")
    }
    unrepaired.folder = tutorial.folder
    generated = unrepaired.bentoctl("generate")
    assert generated.returncode == 1
    assert "allowed_cidrs" in generated.stderr, "ours has looked at it"


@pytest.mark.parametrize(
    ("device", "gpus"), [("cpu", True), pytest.param("cuda", False, marks=only_in_full)]
)
def test_a_bento_for_another_device_is_refused(
    deployment: Deployment, tmp_path: Path, device: str, gpus: bool
) -> None:
    """Before anything is built: on a GPU instance it would serve from the CPU."""
    deployment.configure(enable_gpus=gpus)
    folder = deployment.home / "bentoml" / "bentos" / "stable_diffusion" / device
    folder.mkdir(parents=True, exist_ok=True)
    description = {
        "service": "service:svc",
        "name": "stable_diffusion",
        "version": device,
        "bentoml_version": "1.4.23",
        "creation_time": "2026-11-27T00:00:00+00:00",
        "labels": {"device": device},
        "models": [],
        "runners": [],
        "apis": [],
    }
    (folder / "bento.yaml").write_text(yaml.safe_dump(description))
    built = deployment.bentoctl("build", "--bento-tag", f"stable_diffusion:{device}")

    assert built.returncode == 1
    assert f"stable_diffusion:{device} is built for {device} (its label device)" in built.stderr
    assert f"enable_gpus is {str(gpus).lower()}" in built.stderr


def test_an_apply_without_an_image_is_refused(deployment: Deployment) -> None:
    (deployment.folder / ".terraform").mkdir()
    applied = deployment.bentoctl("apply", "--auto-approve")

    assert applied.returncode == 1
    assert "run bentoctl build first" in applied.stderr


@pytest.mark.parametrize("command", ["apply", "output"])
def test_a_failing_terraform_fails_bentoctl(deployment: Deployment, command: str) -> None:
    terraform = deployment.programs / "terraform"
    terraform.write_text(f'#!/bin/sh\n[ "$1" != {command} ] || exit 3\n')
    terraform.chmod(0o755)
    (deployment.folder / "bentoctl.tfvars").write_text(f'image_uri = "{IMAGE}"\n')
    applied = deployment.bentoctl("apply", "--auto-approve")

    assert applied.returncode == 1
    assert f"terraform {command} ended with exit code 3" in applied.stderr


def test_what_fails_before_the_operator_is_there_fails_too(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, tmp_path / "bentoctl")
    unknown = deployment.run("python", "-B", str(OPERATOR / "bentoctl_repairs.py"), "generate")

    assert unknown.returncode == 1
    assert "operator aws-ec2-asg not found" in unknown.stderr


def test_the_targets_of_make(deployment: Deployment) -> None:
    """They start bentoctl in a folder of its own, where it needs nothing of the checkout."""

    def make(target: str) -> subprocess.CompletedProcess[str]:
        return deployment.run(
            *("make", f"--directory={ROOT}", f"--assume-old={TOOLS.parent / '.installed'}", target),
            *(f"BENTOCTL={TOOLS.parent}", f"FOLDER={folder}", "YES=1", "BENTO=pictures:1"),
            f"CONFIG={deployment.folder / 'deployment_config.yaml'}",
        )

    folder = deployment.folder / "made"
    generated = make("ec2-generate")
    assert generated.returncode == 0, generated.stderr
    assert {"main.tf.json", "bentoctl.tfvars"} < {file.name for file in folder.iterdir()}
    built = make("ec2-build")
    assert built.returncode != 0
    assert "pictures:1" in built.stderr
    (folder / ".terraform").mkdir()
    applied = make("ec2-apply")
    assert applied.returncode != 0
    assert "names no image: run bentoctl build first" in applied.stderr


def test_a_bento_that_is_not_there_fails_the_build(deployment: Deployment) -> None:
    built = deployment.bentoctl("build", "--bento-tag", "stable_diffusion_fp16:0.0.0")

    assert built.returncode == 1
    assert "stable_diffusion_fp16:0.0.0" in built.stderr
