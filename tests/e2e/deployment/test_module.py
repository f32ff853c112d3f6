"""The Terraform module as it is written and planned: rules, permissions, openings."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import ROOT
from tests.e2e.deployment.conftest import FULL, REGISTRY
from tests.e2e.deployment.tools import EKS, SOURCE, Module, instance_files, planned, terraform, tool
from tests.integration.server import Server


def test_format() -> None:
    done = subprocess.run(
        [terraform(), "fmt", "-check", "-recursive", str(SOURCE)], capture_output=True, text=True
    )
    assert done.returncode == 0, f"to be formatted: {done.stdout}"


def test_valid(module: Module) -> None:
    module.run("validate")


def test_its_own_tests(module: Module) -> None:
    """``tests/*.tftest.hcl``: what is planned, and what the variables refuse."""
    module.run("test")


@pytest.mark.parametrize("script", sorted(SOURCE.glob("instance/*.sh")), ids=lambda path: path.name)
def test_shellcheck(script: Path) -> None:
    done = subprocess.run([tool("shellcheck"), str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_checkov_of_the_source() -> None:
    checkov("--directory", str(SOURCE), "--directory", str(EKS), "--framework", "terraform")


def test_checkov_of_a_plan(full: Path) -> None:
    checkov("--file", str(full.with_suffix(".json")), "--framework", "terraform_plan")


def checkov(*arguments: str) -> None:
    config = str(ROOT / ".checkov.yaml")
    done = subprocess.run(
        [tool("checkov"), "--config-file", config, "--skip-download", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "Failed checks: 0" in done.stdout, "it has checked nothing"


def statements(plan: Path) -> dict[str, dict[str, Any]]:
    """The statements of the instances' policy, by their Sid."""
    policy = json.loads(planned(plan, "aws_iam_role_policy.instance")["policy"])
    return {statement["Sid"]: statement for statement in policy["Statement"]}


def test_permissions_are_no_more_than_what_is_used(full: Path) -> None:
    aws = "us-east-1:123456789012"
    resources = {sid: statement["Resource"] for sid, statement in statements(full).items()}
    assert resources == {
        "RegistryLogin": ["*"],
        "PullImage": [f"arn:aws:ecr:{aws}:repository/stable-diffusion"],
        "ListModels": ["arn:aws:s3:::models"],
        "ReadModels": ["arn:aws:s3:::models/pictures/sd/*"],
        "ReadParameters": [f"arn:aws:ssm:{aws}:parameter/pictures/api-keys"],
        "ReadSecrets": [f"arn:aws:secretsmanager:{aws}:secret:pictures/hub-??????"],
        "WriteLogs": [f"arn:aws:logs:{aws}:log-group:/stable-diffusion/pictures:*"],
        "WriteMetrics": ["*"],
        "OpenSession": ["*"],
        "ReportLifecycle": [
            f"arn:aws:autoscaling:{aws}:autoScalingGroup:*:autoScalingGroupName/pictures"
        ],
    }


def test_every_permission_for_everything_is_one_that_cannot_be_narrowed(full: Path) -> None:
    everywhere = {
        action
        for statement in statements(full).values()
        if statement["Resource"] == ["*"] and "Condition" not in statement
        for action in statement["Action"]
    }
    assert everywhere == {
        "ecr:GetAuthorizationToken",
        "ssm:UpdateInstanceInformation",
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
    }
    assert statements(full)["WriteMetrics"]["Condition"] == {
        "StringEquals": {"cloudwatch:namespace": ["StableDiffusion"]}
    }
    assert statements(full)["ListModels"]["Condition"] == {
        "StringLike": {"s3:prefix": ["pictures/sd/*"]}
    }


def test_no_permission_has_a_wildcard_in_its_action(full: Path) -> None:
    actions = [action for statement in statements(full).values() for action in statement["Action"]]
    assert not [action for action in actions if "*" in action]


def test_nothing_is_permitted_for_what_is_not_used(minimal: Path) -> None:
    assert not {
        "ListModels",
        "ReadModels",
        "ReadParameters",
        "ReadSecrets",
        "DecryptSecrets",
    } & set(statements(minimal))


def test_no_other_door(full: Path) -> None:
    """Every rule of every security group; SSH is in none."""
    resources = json.loads(full.with_suffix(".json").read_text())["planned_values"]["root_module"]
    openings = {
        (values["from_port"], values["to_port"], values["cidr_ipv4"])
        for resource in resources["resources"]
        if resource["type"] == "aws_vpc_security_group_ingress_rule"
        for values in [resource["values"]]
    }
    assert openings == {(80, 80, "203.0.113.0/24"), (3000, 3000, None)}


def test_secrets_are_named_and_not_told(full: Path) -> None:
    """User data can be read by whoever may describe the instance."""
    user_data = base64.b64decode(planned(full, "aws_launch_template.this")["user_data"]).decode()
    assert "SD_API_KEYS=ssm:/pictures/api-keys" in user_data
    assert not re.search("SD_API_KEYS=(?!ssm:)", user_data)


def test_user_data_fits(full: Path) -> None:
    assert len(base64.b64decode(planned(full, "aws_launch_template.this")["user_data"])) < 16_384


def test_tags_that_cost_is_found_by(full: Path) -> None:
    tags = planned(full, "aws_launch_template.this")["tag_specifications"]
    assert {specification["resource_type"] for specification in tags} >= {"instance", "volume"}
    for specification in tags:
        assert specification["tags"]["CostCenter"] == FULL["tags"]["CostCenter"]
        assert specification["tags"]["Deployment"] == "pictures"


def test_the_repository_is_that_of_the_image(full: Path) -> None:
    assert FULL["image_uri"].startswith(f"{REGISTRY}/stable-diffusion:")
    assert planned(full, "aws_ecr_repository.this[0]")["name"] == "stable-diffusion"


def test_the_metric_that_scales_is_the_one_that_is_published(full: Path) -> None:
    """Namespace, name and dimensions: of the policy, and of what the agent is told to send."""
    policy = planned(full, "aws_autoscaling_policy.queue")["target_tracking_configuration"][0]
    asked = {
        (
            stat["metric"][0]["namespace"],
            stat["metric"][0]["metric_name"],
            tuple(sorted(dimension["name"] for dimension in stat["metric"][0]["dimensions"])),
        )
        for query in policy["customized_metric_specification"][0]["metrics"]
        for stat in query["metric_stat"]
    }
    agent = json.loads(instance_files(full)["/etc/stable-diffusion/cloudwatch-agent.json"])
    published = agent["logs"]["metrics_collected"]["prometheus"]["emf_processor"]
    (declaration,) = published["metric_declaration"]
    (selector,) = declaration["metric_selectors"]
    (dimensions,) = declaration["dimensions"]
    assert asked == {
        (published["metric_namespace"], selector.strip("^$"), tuple(sorted(dimensions)))
    }


def test_the_metric_that_scales_is_one_of_the_services(full: Path, server: Server) -> None:
    """What the agent keeps of ``/metrics`` is what the policy needs, in both of its states."""
    picture = {"prompt": "a red apple", "num_inference_steps": 2}
    assert server.client.post("/txt2img", json=picture).status_code == 200
    settings = yaml.safe_load(instance_files(full)["/etc/stable-diffusion/prometheus.yaml"])
    (scrape,) = settings["scrape_configs"]
    (relabelling,) = scrape["metric_relabel_configs"]
    kept = {
        sample.labels["state"]
        for family in text_string_to_metric_families(server.client.get("/metrics").text)
        for sample in family.samples
        if re.fullmatch(relabelling["regex"], sample.name)
    }
    assert kept == {"running", "waiting"}
