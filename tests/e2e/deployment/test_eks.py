"""The Terraform root of the EKS cluster: what is planned, its permissions, there and back."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.deployment.tools import EKS, MockAws, Module, mock_aws, terraform
from tests.effort import only_in_full

VARIABLES: dict[str, Any] = {
    "cluster_name": "pictures",
    "region": "us-east-1",
    "availability_zones": ["us-east-1a", "us-east-1b"],
    "administrators": ["arn:aws:iam::123456789012:role/platform"],
    "models_bucket": "example-models",
    "create_bucket": True,
    "deletion_protection": False,
}
# moto knows none of these.
UNKNOWN_TO_THE_MOCK = (
    "aws_eks_access_entry.administrator",
    "aws_eks_access_policy_association.administrator",
    "aws_eks_addon.this",
    "aws_eks_pod_identity_association.this",
)


@pytest.fixture(scope="module")
def eks(tmp_path_factory: pytest.TempPathFactory) -> Module:
    return Module.copied(tmp_path_factory.mktemp("terraform"), {}, EKS)


@only_in_full
@pytest.mark.slow
def test_format_and_its_own_tests(eks: Module) -> None:
    """``tests/*.tftest.hcl``: what is planned, and what the variables refuse."""
    done = subprocess.run(
        [terraform(), "fmt", "-check", "-recursive", str(EKS)], capture_output=True, text=True
    )
    assert done.returncode == 0, f"to be formatted: {done.stdout}"
    eks.run("test")


@only_in_full
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_apply_and_destroy(tmp_path: Path) -> None:
    with mock_aws(tmp_path) as aws:
        before = aws.inventory()
        module = Module.copied(tmp_path, aws.environment, EKS)
        without_what_is_unknown(module)
        module.run("apply", "-input=false", str(module.plan("first", VARIABLES)))
        there(module, aws, before)
        values = str(module.folder / "first.tfvars.json")
        module.run(
            "destroy", "-auto-approve", "-input=false", "-refresh=false", f"-var-file={values}"
        )
        assert aws.inventory() == before


def without_what_is_unknown(module: Module) -> None:
    lines = []
    for address in UNKNOWN_TO_THE_MOCK:
        kind, _, name = address.partition(".")
        lines.append(f'resource "{kind}" "{name}" {{\n  for_each = {{}}\n}}\n')
    # Nor the cluster's security group.
    for address in ("aws_eks_access_entry.engine_node", "aws_ec2_tag.cluster_security_group"):
        kind, _, name = address.partition(".")
        lines.append(f'resource "{kind}" "{name}" {{\n  count = 0\n}}\n')
    (module.folder / "mock_override.tf").write_text("\n".join(lines))


def there(module: Module, aws: MockAws, before: dict[str, int]) -> None:
    outputs = json.loads(module.run("output", "-json").stdout)
    assert outputs["cluster_name"]["value"] == "pictures"
    assert outputs["model_source"]["value"] == "s3://example-models/models"
    assert outputs["engine_node_role"]["value"] == "pictures-us-east-1-engine-node"
    made = {kind: count - before[kind] for kind, count in aws.inventory().items()}
    assert made["eks clusters"] == made["ecr repositories"] == made["s3 Buckets"] == 1
    assert made["events Rules"] == 5
    assert made["iam Roles"] == 8
    state = json.loads(module.run("show", "-json").stdout)["values"]["root_module"]
    policies = {
        resource["index"]: {
            one["Sid"]: one for one in json.loads(resource["values"]["policy"])["Statement"]
        }
        for resource in state["resources"]
        if resource["type"] == "aws_iam_role_policy"
    }
    everywhere = {
        (pod, sid)
        for pod, statements in policies.items()
        for sid, one in statements.items()
        if one["Resource"] == ["*"]
    }
    assert everywhere == {
        ("balancer", "Describe"),
        ("karpenter", "Describe"),
        ("karpenter", "ListProfiles"),
        ("karpenter", "ReadPrices"),
    }
    bucket = "arn:aws:s3:::example-models"
    assert policies["models"]["ReadModels"]["Resource"] == [f"{bucket}/models/*"]
    assert {action for one in policies["models"].values() for action in one["Action"]} == {
        *("s3:ListBucket", "s3:GetObject", "kms:Decrypt"),
    }
    written = {
        resource
        for one in policies["training"].values()
        if "s3:PutObject" in one["Action"]
        for resource in one["Resource"]
    }
    assert written == {f"{bucket}/models/*", f"{bucket}/training/*"}
