"""The operator's description for bentoctl: its name, and the fields of a deployment's ``spec``.

The fields are the variables of the Terraform module (deployment/terraform/modules/ec2-service/
variables.tf), whose descriptions and exact limits count, and ``region``; here are their types. Not
among them are ``deployment_name``, ``image_uri`` and ``environment``, which bentoctl has by other
ways: the deployment's ``name``, the built image, and ``env``.
"""

from __future__ import annotations

from typing import Any

import bentoctl_repairs

bentoctl_repairs.apply()

OPERATOR_NAME = "aws-ec2-asg"
OPERATOR_MODULE = "aws_ec2_asg"
OPERATOR_DEFAULT_TEMPLATE = "terraform"
OPERATOR_AVAILABLE_TEMPLATES = ["terraform"]


def _text(help_message: str, **rules: Any) -> dict[str, Any]:
    return {"type": "string", "help_message": help_message, **rules}


def _optional(help_message: str) -> dict[str, Any]:
    return _text(help_message, nullable=True)


def _number(help_message: str, **rules: Any) -> dict[str, Any]:
    return {"type": "integer", "help_message": help_message, **rules}


def _switch(help_message: str, **rules: Any) -> dict[str, Any]:
    return {"type": "boolean", "help_message": help_message, **rules}


def _texts(help_message: str, **rules: Any) -> dict[str, Any]:
    item = {"type": "string"}
    return {"type": "list", "schema": item, "help_message": help_message, **rules}


def _map(help_message: str) -> dict[str, Any]:
    return {
        "type": "dict",
        "keysrules": {"type": "string"},
        "valuesrules": {"type": "string"},
        "help_message": help_message,
    }


OPERATOR_SCHEMA: dict[str, Any] = {
    "region": _text("AWS region", required=True),
    "instance_type": _text("EC2 instance type", default="g6.xlarge"),
    "enable_gpus": _switch("Give the container the instance's GPUs", default=True),
    "ami_id": _optional("AMI; none: Amazon's newest with the NVIDIA driver"),
    # Asked for by the operator, which has more to say than that they are missing.
    "allowed_cidrs": _texts("Who may reach the load balancer", minlength=1),
    "api_keys": _optional("ssm:NAME or secretsmanager:NAME with the clients' keys"),
    "allow_anonymous": _switch("Nobody needs a key"),
    "certificate_arn": _optional("ACM certificate for HTTPS; none: plain HTTP"),
    "domain_name": _optional("Name that the certificate is for"),
    "zone_id": _optional("Route 53 zone of domain_name"),
    "internal": _switch("A load balancer without public addresses"),
    "alternative_instance_types": _texts("Types to take where instance_type is not to be had"),
    "max_instance_days": _number("Days until an instance is replaced", nullable=True),
    "max_failed_boots": _number("Boots that may fail within an hour; 0: any number"),
    "min_size": _number("Instances at least"),
    "max_size": _number("Instances at most"),
    "jobs_per_instance": {"type": "number", "help_message": "Jobs per instance to scale to"},
    "spot": _switch("Take spot instances above on_demand_base"),
    "on_demand_base": _number("With spot: on-demand instances that come first"),
    "schedule": {
        "type": "dict",
        "nullable": True,
        "schema": {
            "stop": _text("Cron expression", required=True),
            "start": _text("Cron expression", required=True),
            "time_zone": _text("Of both"),
        },
        "help_message": "Hours without any instance",
    },
    "refresh_min_healthy_percentage": _number("Instances kept while a new image rolls out"),
    "refresh_alarm_enabled": _switch("Roll back when responses are errors meanwhile"),
    "start_timeout_seconds": _number("From the boot of an instance until it is ready"),
    "root_volume_gb": _number("Size of the root volume"),
    "model_source": _optional("s3://BUCKET/PREFIX with a copy of a model store"),
    "deadline_seconds": _number("SD_DEADLINE: seconds a request may take"),
    "drain_seconds": _number("SD_DRAIN: seconds that running jobs get at the end"),
    "secrets": _map("Environment variables from ssm:NAME or secretsmanager:NAME"),
    "secrets_kms_key_arn": _optional("KMS key of the secrets"),
    "vpc_id": _optional("VPC to use; none: one is made"),
    "load_balancer_subnet_ids": _texts("With vpc_id: subnets of the load balancer"),
    "instance_subnet_ids": _texts("With vpc_id: private subnets of the instances"),
    "vpc_cidr": _text("Without vpc_id: addresses of the one that is made"),
    "egress": _text("Without vpc_id: nat or endpoints", allowed=["nat", "endpoints"]),
    "availability_zones": _texts("Zones to use; none: all with the type", nullable=True),
    "nat_per_zone": _switch("A NAT gateway in each zone"),
    "dns_server_cidrs": _texts("DNS servers of your own"),
    "flow_logs_bucket_arn": _optional("S3 bucket for the VPC's flow logs"),
    "web_acl_arn": _optional("Web application firewall"),
    "kms_key_arn": _optional("KMS key of disks, logs and alarms"),
    "permissions_boundary_arn": _optional("Permissions boundary of the instances' role"),
    "iam_path": _text("Path of the instances' role"),
    "log_retention_days": _number("Days that logs are kept"),
    "alarm_email": _optional("Address that alarms are sent to"),
    "alarm_topic_arns": _texts("SNS topics that alarms are sent to"),
    "monthly_budget_usd": {
        "type": "number",
        "nullable": True,
        "help_message": "Dollars a month that you want to be told of",
    },
    "access_logs_bucket": _optional("S3 bucket for the load balancer's access logs"),
    "deletion_protection": _switch("Refuse to delete the load balancer"),
    "tags": _map("Tags of everything"),
}
