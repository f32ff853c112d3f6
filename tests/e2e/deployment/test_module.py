"""The Terraform module as it is written and planned: rules, permissions, openings."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import ROOT
from tests.e2e.deployment.conftest import FULL
from tests.e2e.deployment.tools import (
    EKS,
    SOURCE,
    TERRAFORM,
    Module,
    instance_files,
    planned,
    resources,
    terraform,
    tool,
    user_data,
)
from tests.effort import only_in_full
from tests.integration.server import Server

# Of the addresses of the VPC.
NETWORK = hashlib.sha1(b"10.60.0.0/16").hexdigest()[:6]


def test_format() -> None:
    done = subprocess.run(
        [terraform(), "fmt", "-check", "-recursive", str(TERRAFORM)], capture_output=True, text=True
    )
    assert done.returncode == 0, f"to be formatted: {done.stdout}"


@only_in_full
@pytest.mark.slow
def test_their_own_tests(tmp_path: Path) -> None:
    """``tests/*.tftest.hcl``: what is planned, and what the variables refuse."""
    for module in (SOURCE, SOURCE.with_name("image-repository")):
        Module.copied(tmp_path / module.name, {}, module).run("test")


@only_in_full
@pytest.mark.slow
def test_the_examples_are_valid_and_locked(tmp_path: Path) -> None:
    """With the provider of their lock files, and no other."""
    for name in ("ec2", "repository"):
        example = TERRAFORM / "examples" / name
        assert 'version     = "5.' in (example / ".terraform.lock.hcl").read_text()
        Module.copied(tmp_path / name, {}, example).run("validate")


@pytest.mark.parametrize("script", sorted(SOURCE.glob("instance/*.sh")), ids=lambda path: path.name)
def test_shellcheck(script: Path) -> None:
    done = subprocess.run([tool("shellcheck"), str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@only_in_full
@pytest.mark.slow
def test_checkov_of_the_source() -> None:
    folders = [*sorted((TERRAFORM / "modules").iterdir()), EKS]
    directories = [part for folder in folders for part in ("--directory", str(folder))]
    checkov(*directories, "--framework", "terraform")


@only_in_full
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
        "ReadParameters": [
            f"arn:aws:ssm:{aws}:parameter/pictures/another",
            f"arn:aws:ssm:{aws}:parameter/pictures/api-keys",
        ],
        "ReadSecrets": [f"arn:aws:secretsmanager:{aws}:secret:pictures/hub-??????"],
        "WriteLogs": [f"arn:aws:logs:{aws}:log-group:/stable-diffusion/pictures:*"],
        "WriteMetrics": ["*"],
        "OpenSession": ["*"],
        "ReportToGroup": [
            f"arn:aws:autoscaling:{aws}:autoScalingGroup:*:autoScalingGroupName/pictures"
        ],
        "LookAround": ["*"],
        "LeaveLoadBalancer": [
            f"arn:aws:elasticloadbalancing:{aws}:targetgroup/pictures-{NETWORK}/*"
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
        "autoscaling:DescribeScalingActivities",
        "ecr:GetAuthorizationToken",
        "elasticloadbalancing:DescribeTargetGroups",
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


def test_no_other_door(full: Path) -> None:
    """Every rule of every security group; SSH is in none."""
    openings = {
        (values["from_port"], values["to_port"], values["cidr_ipv4"])
        for resource in resources(full)
        if resource["type"] == "aws_vpc_security_group_ingress_rule"
        for values in [resource["values"]]
    }
    assert openings == {(80, 80, "203.0.113.0/24"), (3000, 3000, None)}


def test_secrets_are_named_and_not_told(full: Path) -> None:
    """User data can be read by whoever may describe the instance."""
    told = instance_files(full)["/etc/stable-diffusion/deployment.env"]
    assert 'API_KEYS="ssm:/pictures/api-keys"' in told
    assert re.findall('"(.*TOKEN.*)"', told) == [
        "ANOTHER_TOKEN=ssm:/pictures/another HF_TOKEN=secretsmanager:pictures/hub"
    ]


def test_user_data_fits(full: Path) -> None:
    assert len(user_data(full)) < 12_288, "environment and secrets want some of the 16,384"


def test_tags_that_cost_is_found_by(full: Path) -> None:
    tags = planned(full, "aws_launch_template.this")["tag_specifications"]
    assert {specification["resource_type"] for specification in tags} >= {"instance", "volume"}
    for specification in tags:
        assert specification["tags"]["CostCenter"] == FULL["tags"]["CostCenter"]
        assert specification["tags"]["Deployment"] == "pictures"


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
    sent = {
        (
            published["metric_namespace"],
            selector.strip("^$"),
            tuple(sorted(dimensions)),
        )
        for declaration in published["metric_declaration"]
        for selector in declaration["metric_selectors"]
        for dimensions in declaration["dimensions"]
    }
    assert asked < sent
    watched = {
        (one["namespace"], one["metric_name"], tuple(sorted(one["dimensions"])))
        for alarm in resources(full)
        if alarm["type"] == "aws_cloudwatch_metric_alarm"
        for one in [
            alarm["values"],
            *(metric for query in alarm["values"]["metric_query"] for metric in query["metric"]),
        ]
        if one["namespace"] == published["metric_namespace"]
    }
    (faults,) = planned(full, "aws_cloudwatch_log_metric_filter.gpu_faults[0]")[
        "metric_transformation"
    ]
    sent.add((faults["namespace"], faults["name"], tuple(faults["dimensions"])))
    assert watched == sent, "what is paid for is looked at"


# A server of its own, as none of these tests needs another one.
@only_in_full
@pytest.mark.slow
def test_the_metrics_are_the_services(full: Path, bentoml_server: Server) -> None:
    """What the agent keeps of ``/metrics`` is what policy and alarms need, in all its states."""
    settings = yaml.safe_load(instance_files(full)["/etc/stable-diffusion/prometheus.yaml"])
    (scrape,) = settings["scrape_configs"]
    (relabelling,) = scrape["metric_relabel_configs"]
    kept = {
        (sample.name, sample.labels.get("state"))
        for family in text_string_to_metric_families(bentoml_server.client.get("/metrics").text)
        for sample in family.samples
        if re.fullmatch(
            relabelling["regex"],
            ";".join(
                {"__name__": sample.name, **sample.labels}.get(name, "")
                for name in relabelling["source_labels"]
            ),
        )
    }
    assert kept == {
        ("sd_queue_depth", "running"),
        ("sd_queue_depth", "waiting"),
        ("sd_out_of_memory_total", None),
    }
    assert bentoml_server.client.get("/models").status_code == 200
    (counted,) = (
        family
        for family in text_string_to_metric_families(bentoml_server.client.get("/metrics").text)
        if family.name == "bentoml_api_server_request"
    )
    assert "http_response_code" in counted.samples[0].labels, "429 among them"
