"""From nothing to a deployment, to another image, and back to nothing, against a mock of AWS."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.e2e.deployment.conftest import FULL
from tests.e2e.deployment.tools import MockAws, Module, mock_aws, planned
from tests.effort import only_in_full


# The provider polls a new load balancer for a minute.
@only_in_full
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_apply_roll_forward_destroy(tmp_path: Path) -> None:
    with mock_aws(tmp_path) as aws:
        before = aws.inventory()
        module = Module(tmp_path, aws.environment)
        apply(module)
        described(module, aws, before)
        rolled_forward(module, aws)
        values = str(module.folder / "second.tfvars.json")
        module.run("destroy", "-auto-approve", "-input=false", f"-var-file={values}")
        assert aws.inventory() == before


def apply(module: Module) -> None:
    module.run("apply", "-input=false", str(module.plan("first", FULL)))


def described(module: Module, aws: MockAws, before: dict[str, int]) -> None:
    outputs = json.loads(module.run("output", "-json").stdout)
    assert outputs["endpoint"]["value"].startswith("http://pictures")
    assert outputs["asg_name"]["value"] == "pictures"
    assert outputs["log_group"]["value"] == "/stable-diffusion/pictures"
    assert outputs["dashboard_url"]["value"].endswith("#dashboards/dashboard/pictures")
    assert outputs["repository_url"]["value"] == FULL["image_uri"].rpartition(":")[0]
    made = {kind: count - before[kind] for kind, count in aws.inventory().items()}
    assert made["autoscaling AutoScalingGroups"] == 1
    assert made["ec2 Reservations"] == 1
    assert made["elbv2 LoadBalancers"] == 1
    assert made["cloudwatch MetricAlarms"] == 4
    assert made["ec2 NatGateways"] == made["ec2 Addresses"] == made["ec2 Vpcs"] == 1


def rolled_forward(module: Module, aws: MockAws) -> None:
    """Another image is another version of the launch template, and that replaces the instances."""
    assert aws.refreshes() == []
    image = FULL["image_uri"].replace("0.1.0", "0.2.0")
    plan = module.plan("second", {**FULL, "image_uri": image})
    user_data = base64.b64decode(planned(plan, "aws_launch_template.this")["user_data"]).decode()
    assert image in user_data
    module.run("apply", "-input=false", str(plan))
    (refresh,) = aws.refreshes()
    assert refresh["AutoScalingGroupName"] == "pictures"
    assert refresh["Preferences"]["AutoRollback"] is True
    assert refresh["Preferences"]["AlarmSpecification"]["Alarms"] == ["pictures-errors"]
