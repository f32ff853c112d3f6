"""From nothing to a deployment, to other images, and back to nothing, against a mock of AWS."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.deployment.conftest import FULL
from tests.e2e.deployment.tools import TERRAFORM, MockAws, Module, mock_aws
from tests.effort import only_in_full


# The provider polls a new load balancer for a minute.
@only_in_full
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_apply_roll_forward_and_back_destroy(tmp_path: Path) -> None:
    if shutil.which("aws") is None:
        pytest.skip("the AWS CLI is not installed")
    with mock_aws(tmp_path) as aws:
        before = aws.inventory()
        module = Module.of_the_service(tmp_path / "root", aws.environment)
        module.run("apply", "-input=false", str(module.plan("first", FULL)))
        described(module, aws, before)
        rolled_forward(module, aws)
        a_broken_version_goes_back(module, aws)
        rolled_back(module, aws)
        values = str(module.folder / "second.tfvars.json")
        module.run("destroy", "-auto-approve", "-input=false", f"-var-file={values}")
        assert aws.inventory() == before


def described(module: Module, aws: MockAws, before: dict[str, int]) -> None:
    outputs = json.loads(module.run("output", "-json").stdout)
    assert outputs["endpoint"]["value"].startswith("http://pictures")
    assert outputs["asg_name"]["value"] == "pictures"
    assert outputs["log_group"]["value"] == "/stable-diffusion/pictures"
    assert outputs["dashboard_url"]["value"].endswith("#dashboards/dashboard/pictures-us-east-1")
    made = {kind: count - before[kind] for kind, count in aws.inventory().items()}
    assert made["autoscaling AutoScalingGroups"] == 1
    assert made["ec2 Reservations"] == 1
    assert made["elbv2 LoadBalancers"] == 1
    assert made["cloudwatch MetricAlarms"] == 8
    assert made["ec2 NatGateways"] == made["ec2 Addresses"] == made["ec2 Vpcs"] == 1


def image(version: str) -> str:
    return str(FULL["image_uri"]).replace("0.1.0", version)


def rollout(module: Module, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TERRAFORM / "rollout.py"), f"--folder={module.folder}", *arguments],
        env={**module.environment, "ROLLOUT_PAUSE": "0.1"},
        capture_output=True,
        text=True,
    )


def apply(module: Module, aws: MockAws, name: str, version: str) -> None:
    """Another image is another version of the launch template, and no change of the group."""
    before = len(aws.calls())
    variables = {**FULL, "image_uri": image(version)}
    module.run("apply", "-input=false", str(module.plan(name, variables)))
    called = aws.calls()[before:]
    assert not [call for call in called if call["call"] == "start_instance_refresh"]
    policies = [call["MixedInstancesPolicy"] for call in called if "MixedInstancesPolicy" in call]
    versions = [
        policy["LaunchTemplate"]["LaunchTemplateSpecification"]["Version"] for policy in policies
    ]
    assert set(versions) <= {runs(module)}, "a refresh would go back to this"


def runs(module: Module) -> str:
    (line,) = [line for line in rollout(module, "versions").stdout.splitlines() if line[0] == "*"]
    return line.split()[1]


def rolled_forward(module: Module, aws: MockAws) -> None:
    apply(module, aws, "second", "0.2.0")
    assert runs(module) == "1"
    before = len(aws.calls())
    done = rollout(module, "roll")
    assert done.returncode == 0, done.stderr
    assert f"to version 2, {image('0.2.0')}" in done.stdout
    assert "pictures runs version 2" in done.stdout
    (refresh,) = aws.calls()[before:]
    assert refresh["AutoScalingGroupName"] == "pictures"
    assert refresh["Preferences"]["AutoRollback"] in (True, "true")
    assert refresh["Preferences"]["AlarmSpecification"]["Alarms"] == ["pictures-refresh"]
    policy = refresh["DesiredConfiguration"]["MixedInstancesPolicy"]
    assert [one["InstanceType"] for one in policy["LaunchTemplate"]["Overrides"]] == [
        "g6.xlarge",
        "g5.xlarge",
    ]
    again = rollout(module, "roll")
    assert again.returncode == 0
    assert "has version 2 already" in again.stdout


def a_broken_version_goes_back(module: Module, aws: MockAws) -> None:
    """To what the group says, which is the version before: nothing has moved it meanwhile."""
    apply(module, aws, "third", "0.3.0")
    done = rollout(module, "roll", "--no-alarm")
    assert done.returncode == 1
    assert "error: RollbackSuccessful: pictures runs version 2. an instance did not" in done.stderr
    refresh = aws.calls()[-1]
    assert refresh["call"] == "start_instance_refresh"
    assert "AlarmSpecification" not in refresh["Preferences"]
    assert runs(module) == "2"


def rolled_back(module: Module, aws: MockAws) -> None:
    done = rollout(module, "rollback")
    assert done.returncode == 0, done.stderr
    assert runs(module) == "1"
    nothing = rollout(module, "rollback")
    assert nothing.returncode == 1
    assert "there is no version before 1" in nothing.stderr
    unknown = rollout(module, "roll", "--version", "9")
    assert unknown.returncode == 1
    assert "there are [1, 2, 3]" in unknown.stderr
