"""The operator: EC2 instances in an Auto Scaling group behind a load balancer, by Terraform."""

from __future__ import annotations

import base64
import json
import re
import shutil
from pathlib import Path
from typing import Any

import boto3
import terraform_root
from bentoctl.exceptions import BentoctlException

MODULE = Path(__file__).resolve().parents[2] / "terraform" / "modules" / "ec2-service"
VALUES = "bentoctl.tfvars"
DOCKERFILE = Path("env", "docker", "Dockerfile")
# bentoctl's and the operator's own names for what the module calls otherwise.
RENAMED = {"env": "environment", "image_tag": "image_uri"}
# What has no default, as nobody should be surprised by it: any of some fields, and what to write.
ASKED_FOR = (
    (
        ("allowed_cidrs",),
        "allowed_cidrs, who may reach it: [203.0.113.7/32], with your own address of "
        "https://checkip.amazonaws.com",
    ),
    (
        ("api_keys", "allow_anonymous"),
        "api_keys, where your clients' keys are: ssm:/pictures/api-keys, a SecureString of the "
        "Parameter Store; or allow_anonymous: true for none",
    ),
)

_IMAGE = re.compile(r'^image_uri = "(.+)"$', re.MULTILINE)
_HEADER = "# Written by bentoctl; changes get lost. They belong into deployment_config.yaml.\n"


def generate(
    name: str, spec: dict[str, Any], template_type: str, destination_dir: str, values_only: bool
) -> list[str]:
    """Copy the Terraform module to the destination, with a root over it, and write its values.

    Args:
        name: of the deployment.
        spec: what ``deployment_config.yaml`` says, with ``env``, and ``image_tag`` after a build.
        values_only: leave the module's files alone.

    Returns:
        The written files.
    """
    if template_type != "terraform":
        raise BentoctlException(f"template must be terraform, got {template_type}")
    missing = [sentence for wanted, sentence in ASKED_FOR if not any(map(spec.get, wanted))]
    if missing:
        raise BentoctlException("; ".join(["spec needs more than the tutorial's fields", *missing]))
    destination = Path(destination_dir)
    written = [] if values_only else terraform_root.write(MODULE, destination)
    file = destination / VALUES
    values = {"deployment_name": name}
    values |= {RENAMED.get(key, key): value for key, value in spec.items()}
    built = _IMAGE.search(file.read_text(encoding="utf-8")) if file.exists() else None
    if built is not None:
        # Without a build only the settings have changed.
        values.setdefault("image_uri", built[1])
    lines = [f"{key} = {hcl(value)}\n" for key, value in values.items() if value is not None]
    file.write_text(_HEADER + "".join(lines), encoding="utf-8")
    return [*written, str(file)]


def hcl(value: Any) -> str:
    """A value in Terraform's syntax: JSON, but for what it would take for templates."""
    return json.dumps(value, ensure_ascii=False).replace("${", "$${").replace("%{", "%%{")


def create_deployable(
    bento_path: str,
    destination_dir: str,
    bento_metadata: dict[str, Any],
    overwrite_deployable: bool,
) -> str:
    """The folder to build the image in: the Bento as it is, with its models and its Dockerfile.

    It is a copy, as bentoctl deletes its own before it builds.
    """
    folder = Path(shutil.copytree(bento_path, Path(destination_dir, "bento")))
    if not (folder / DOCKERFILE).is_file():
        raise BentoctlException(f"{bento_metadata['tag']} has no {DOCKERFILE}")
    # The Dockerfile copies it, also where the models are in the code, or in S3.
    (folder / "models").mkdir(exist_ok=True)
    return str(folder)


def create_repository(repository_name: str, operator_spec: dict[str, Any]) -> tuple[str, str, str]:
    """Make the ECR repository, unless it is there.

    Its tags never move, so that an instance that starts tomorrow runs what was tested today.

    Returns:
        URL of the repository, user name and password for a push.
    """
    ecr = boto3.client("ecr", region_name=operator_spec["region"])
    try:
        answer = ecr.describe_repositories(repositoryNames=[repository_name])
        (repository,) = answer["repositories"]
    except ecr.exceptions.RepositoryNotFoundException:
        repository = ecr.create_repository(
            repositoryName=repository_name,
            imageTagMutability="IMMUTABLE",
            imageScanningConfiguration={"scanOnPush": True},
            encryptionConfiguration={"encryptionType": "AES256"},
            tags=[{"Key": "Deployment", "Value": repository_name}],
        )["repository"]
        ecr.put_lifecycle_policy(
            repositoryName=repository_name, lifecyclePolicyText=json.dumps(_lifecycle())
        )
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    user, _, password = base64.b64decode(token).decode().partition(":")
    return repository["repositoryUri"], user, password


def _lifecycle() -> dict[str, Any]:
    """Only what no tag names: a count of all would in the end delete the image that runs."""
    rule = {
        "rulePriority": 1,
        "description": "Untagged images are of no use",
        "selection": {
            "tagStatus": "untagged",
            "countType": "sinceImagePushed",
            "countUnit": "days",
            "countNumber": 1,
        },
        "action": {"type": "expire"},
    }
    return {"rules": [rule]}


def delete_repository(repository_name: str, operator_spec: dict[str, Any]) -> None:
    """Delete the ECR repository with all images, if it is there."""
    ecr = boto3.client("ecr", region_name=operator_spec["region"])
    try:
        ecr.delete_repository(repositoryName=repository_name, force=True)
    except ecr.exceptions.RepositoryNotFoundException:
        return
