"""A mock of AWS, and plans of the Terraform module against it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.deployment.instance import Instance
from tests.e2e.deployment.tools import MockAws, Module, mock_aws

REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
MINIMAL: dict[str, Any] = {
    "deployment_name": "pictures",
    "region": "us-east-1",
    "image_uri": f"{REGISTRY}/stable-diffusion:0.1.0",
    "allowed_cidrs": ["203.0.113.0/24"],
    "api_keys": "ssm:/pictures/api-keys",
}
FULL: dict[str, Any] = {
    **MINIMAL,
    "environment": {"SD_MODELS": "sd-1.5", "SD_PRECISION": "fp16"},
    "secrets": {
        "ANOTHER_TOKEN": "ssm:/pictures/another",
        "HF_TOKEN": "secretsmanager:pictures/hub",
    },
    "model_source": "s3://models/pictures/sd",
    "schedule": {"stop": "0 20 * * 1-5", "start": "0 6 * * 1-5"},
    "spot": True,
    "on_demand_base": 1,
    "alternative_instance_types": ["g5.xlarge"],
    "alarm_email": "ops@example.com",
    "start_timeout_seconds": 300,
    "tags": {"CostCenter": "4711"},
}


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockAws]:
    with mock_aws(tmp_path_factory.mktemp("aws")) as aws:
        yield aws


@pytest.fixture(scope="session")
def module(aws: MockAws, tmp_path_factory: pytest.TempPathFactory) -> Module:
    return Module.of_the_service(tmp_path_factory.mktemp("terraform"), aws.environment)


@pytest.fixture(scope="session")
def full(module: Module) -> Path:
    """A plan with most of what there is."""
    return module.plan("full", FULL)


@pytest.fixture
def instance(tmp_path: Path, full: Path) -> Instance:
    return Instance(tmp_path, full)
