"""What a change of each variable of the module may change of a deployment that runs.

By default nothing is replaced and nothing is deleted: a change of ``drain_seconds`` once replaced
the Auto Scaling group. What may be created, or changed in place, is listed too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from tests.e2e.deployment.conftest import REGISTRY

ACCOUNT: Final = "123456789012"
# Everything is replaced, as their descriptions say; a network of one's own is not in the mock.
WHOLE: Final = {
    *("deployment_name", "vpc_id", "load_balancer_subnet_ids", "instance_subnet_ids"),
    "vpc_cidr",
}
# What is rolled out later, by a command.
TEMPLATE: Final = "aws_launch_template.this"
GROUP: Final = "aws_autoscaling_group.this"
ROLE: Final = "aws_iam_role.instance"
POLICY: Final = "aws_iam_role_policy.instance"
PROFILE: Final = "aws_iam_instance_profile.instance"
FAULTS: Final = (
    "aws_cloudwatch_log_metric_filter.gpu_faults",
    "aws_cloudwatch_metric_alarm.gpu_fault",
)
ALARMS: Final = (
    "aws_cloudwatch_metric_alarm.error_share",
    "aws_cloudwatch_metric_alarm.gpu_fault",
    "aws_cloudwatch_metric_alarm.no_healthy_instance",
    "aws_cloudwatch_metric_alarm.out_of_memory",
    "aws_cloudwatch_metric_alarm.queue",
    "aws_cloudwatch_metric_alarm.slow",
    "aws_cloudwatch_metric_alarm.throttled",
)
BALANCER: Final = "aws_lb.this"
LISTENERS: Final = ("aws_lb_listener.http", "aws_lb_listener.https")
RULE: Final = "aws_lb_listener_rule.metrics"


@dataclass(frozen=True)
class Update:
    """Another value, and what it may change and replace, by address.

    Attributes:
        value: what the variable becomes; ``conftest.FULL`` and the defaults are what it was.
        changes: what may be created, or changed in place.
        replaces: what may be replaced, or deleted.
    """

    value: Any
    changes: frozenset[str] = field(default_factory=frozenset)
    replaces: frozenset[str] = field(default_factory=frozenset)


def update(value: Any, *changes: str, replaces: tuple[str, ...] = ()) -> Update:
    return Update(value, frozenset(changes), frozenset(replaces))


TABLE: Final = {
    "image_uri": update(f"{REGISTRY}/stable-diffusion:0.2.0", TEMPLATE),
    "environment": update({"SD_MODELS": "sd-1.5", "SD_MAX_QUEUE": "8"}, TEMPLATE),
    "secrets": update({"HF_TOKEN": "ssm:/pictures/hub"}, TEMPLATE, POLICY),
    "secrets_kms_key_arn": update(f"arn:aws:kms:us-east-1:{ACCOUNT}:key/a", POLICY),
    "api_keys": update("secretsmanager:pictures/keys", TEMPLATE, POLICY),
    # With the keys that FULL has, this is refused; who changes it changes api_keys, too.
    "allow_anonymous": update(False),
    "model_source": update("s3://models/other", TEMPLATE, POLICY),
    "deadline_seconds": update(
        600,
        *(TEMPLATE, BALANCER, GROUP, "aws_lb_target_group.this"),
        *("aws_autoscaling_lifecycle_hook.drained", "aws_cloudwatch_metric_alarm.slow"),
    ),
    "drain_seconds": update(90, TEMPLATE, GROUP, "aws_autoscaling_lifecycle_hook.drained"),
    "instance_type": update("g5.2xlarge", TEMPLATE, GROUP),
    "alternative_instance_types": update(["g4dn.xlarge"], GROUP),
    "enable_gpus": update(False, TEMPLATE, "aws_cloudwatch_dashboard.this", replaces=FAULTS),
    "ami_id": update("ami-12c6146b", TEMPLATE),
    "root_volume_gb": update(200, TEMPLATE),
    "max_instance_days": update(14, GROUP),
    "max_failed_boots": update(2, TEMPLATE),
    "min_size": update(2, GROUP, "aws_autoscaling_schedule.start"),
    "max_size": update(4, GROUP, "aws_autoscaling_schedule.start"),
    "jobs_per_instance": update(
        6, "aws_autoscaling_policy.queue", "aws_cloudwatch_metric_alarm.queue"
    ),
    "spot": update(False, GROUP),
    "on_demand_base": update(0, GROUP),
    "schedule": update(
        None, replaces=("aws_autoscaling_schedule.start", "aws_autoscaling_schedule.stop")
    ),
    "refresh_min_healthy_percentage": update(0, GROUP),
    "refresh_alarm_enabled": update(False),
    "start_timeout_seconds": update(600, TEMPLATE, GROUP, "aws_autoscaling_lifecycle_hook.ready"),
    # One opening goes, another comes.
    "allowed_cidrs": update(
        ["198.51.100.0/24"],
        "aws_vpc_security_group_ingress_rule.clients",
        replaces=("aws_vpc_security_group_ingress_rule.clients",),
    ),
    # The rule moves to the listener for HTTPS.
    "certificate_arn": update(
        f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/0123",
        *LISTENERS,
        "aws_vpc_security_group_ingress_rule.clients",
        replaces=(RULE,),
    ),
    "domain_name": update("pictures.example.com"),
    "zone_id": update("Z0123456789", "aws_route53_record.this"),
    "internal": update(
        True,
        *("aws_cloudwatch_dashboard.this", *ALARMS),
        replaces=(BALANCER, *LISTENERS, RULE, GROUP, "aws_autoscaling_policy.queue"),
    ),
    "egress": update(
        "endpoints",
        *("aws_security_group.endpoints", "aws_vpc_endpoint.interface"),
        *("aws_vpc_security_group_egress_rule.endpoints", "aws_vpc_security_group_egress_rule.s3"),
        "aws_vpc_security_group_ingress_rule.endpoints",
        replaces=(
            *("aws_eip.nat", "aws_nat_gateway.this", "aws_route.nat"),
            "aws_vpc_security_group_egress_rule.https",
        ),
    ),
    "availability_zones": update(["us-east-1b", "us-east-1c"], GROUP, BALANCER),
    "nat_per_zone": update(
        True,
        *("aws_eip.nat", "aws_nat_gateway.this", "aws_route.nat"),
    ),
    "dns_server_cidrs": update(["10.0.0.2/32"], "aws_vpc_security_group_egress_rule.dns"),
    "flow_logs_bucket_arn": update("arn:aws:s3:::logs", "aws_flow_log.this"),
    "web_acl_arn": update(
        f"arn:aws:wafv2:us-east-1:{ACCOUNT}:regional/webacl/a/0123",
        "aws_wafv2_web_acl_association.this",
    ),
    "kms_key_arn": update(
        f"arn:aws:kms:us-east-1:{ACCOUNT}:key/a",
        *(TEMPLATE, "aws_cloudwatch_log_group.this", "aws_sns_topic.alarms"),
    ),
    "permissions_boundary_arn": update(f"arn:aws:iam::{ACCOUNT}:policy/boundary", ROLE),
    "iam_path": update("/services/", TEMPLATE, replaces=(ROLE, POLICY, PROFILE)),
    "log_retention_days": update(60, "aws_cloudwatch_log_group.this"),
    "alarm_email": update("other@example.com", replaces=("aws_sns_topic_subscription.alarms",)),
    "alarm_topic_arns": update(
        [f"arn:aws:sns:us-east-1:{ACCOUNT}:ops"],
        *ALARMS,
        "aws_cloudwatch_event_target.failures",
    ),
    "monthly_budget_usd": update(500, "aws_budgets_budget.this"),
    "access_logs_bucket": update("logs", BALANCER),
    "deletion_protection": update(True, BALANCER),
    "tags": update({"CostCenter": "1"}, "*"),
}
# What another variable has to become with it.
ALONG: Final[dict[str, dict[str, Any]]] = {
    "enable_gpus": {"instance_type": "m7i.2xlarge", "alternative_instance_types": []},
    "zone_id": {"domain_name": "pictures.example.com"},
}
# Those that would hide what others change, or change it.
APART: Final = ("availability_zones", "egress", "enable_gpus", "iam_path", "internal", "tags")
