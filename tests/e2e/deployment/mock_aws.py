"""An AWS that is only a process: moto's server, and what there is in it.

Runs in the environment of the deployment's tools::

    python mock_aws.py serve PORT     until its standard input is closed; says when it is ready, and
                                      prints what its Auto Scaling is asked for, as JSON
    python mock_aws.py inventory URL  how many resources there are, by kind, as JSON
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from typing import Any

REGION = "us-east-1"
ACCOUNT = "123456789012"
GPU_AMI = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest"

GPU_AMI_ID = "ami-12c6146b"

# Service, call, and where in its answer the resources are. Network interfaces belong to others,
# with whom AWS deletes them, and moto does not.
_LISTINGS = [
    ("autoscaling", "describe_auto_scaling_groups", "AutoScalingGroups"),
    ("autoscaling", "describe_policies", "ScalingPolicies"),
    ("cloudwatch", "describe_alarms", "MetricAlarms"),
    ("cloudwatch", "list_dashboards", "DashboardEntries"),
    ("ec2", "describe_addresses", "Addresses"),
    ("ec2", "describe_instances", "Reservations"),
    ("ec2", "describe_internet_gateways", "InternetGateways"),
    ("ec2", "describe_launch_templates", "LaunchTemplates"),
    ("ec2", "describe_nat_gateways", "NatGateways"),
    ("ec2", "describe_route_tables", "RouteTables"),
    ("ec2", "describe_security_groups", "SecurityGroups"),
    ("ec2", "describe_subnets", "Subnets"),
    ("ec2", "describe_volumes", "Volumes"),
    ("ec2", "describe_vpc_endpoints", "VpcEndpoints"),
    ("ec2", "describe_vpcs", "Vpcs"),
    ("ecr", "describe_repositories", "repositories"),
    ("eks", "list_clusters", "clusters"),
    ("elbv2", "describe_load_balancers", "LoadBalancers"),
    ("elbv2", "describe_target_groups", "TargetGroups"),
    ("events", "list_rules", "Rules"),
    ("iam", "list_instance_profiles", "InstanceProfiles"),
    ("iam", "list_roles", "Roles"),
    ("logs", "describe_log_groups", "logGroups"),
    ("s3", "list_buckets", "Buckets"),
    ("sns", "list_subscriptions", "Subscriptions"),
    ("sns", "list_topics", "Topics"),
]
# Versions of launch templates whose instances do not get ready.
BROKEN = ("3",)
# They stay to be seen for a while, and cost nothing.
_GONE = ("deleted", "terminated")


def serve(port: int) -> None:
    os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"
    import moto.server
    from moto.ec2.models import ec2_backends
    from moto.ssm.models import Parameter, ssm_backends

    _mend_auto_scaling()
    image = ec2_backends[ACCOUNT][REGION].amis[GPU_AMI_ID]
    image.name = "Deep Learning Base OSS Nvidia Driver GPU AMI (Amazon Linux 2023) 20261120"
    image.root_device_name = "/dev/xvda"

    # Names that begin with /aws are Amazon's own: they cannot be put from outside.
    name = f"{GPU_AMI}/ami-id"
    parameter = Parameter(
        account_id=ACCOUNT,
        name=name,
        value=GPU_AMI_ID,
        parameter_type="String",
        description=None,
        allowed_pattern=None,
        keyid=None,
        last_modified_date=datetime.now(UTC),
        version=1,
        data_type="aws:ec2:image",
    )
    ssm_backends[ACCOUNT][REGION]._parameters[name].append(parameter)
    server = moto.server.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    print("ready", flush=True)
    sys.stdin.read()
    server.stop()


def _mend_auto_scaling() -> None:
    """What moto's lacks: instance refreshes, and a group that keeps what an update leaves out."""
    from moto.autoscaling.models import FakeAutoScalingGroup
    from moto.autoscaling.responses import AutoScalingResponse
    from moto.core.responses import ActionResult, EmptyResult

    update = FakeAutoScalingGroup.update

    def kept(group: Any, *arguments: Any, **changes: Any) -> None:
        before = group.mixed_instances_policy
        update(group, *arguments, **changes)
        if group.mixed_instances_policy is None:
            group.mixed_instances_policy = before

    FakeAutoScalingGroup.update = kept

    def said(name: str) -> None:
        """Have a call of Auto Scaling printed before it is done."""
        call = getattr(AutoScalingResponse, name)

        def printed(response: Any) -> Any:
            print(json.dumps({"call": name, **response._get_params()}, default=str), flush=True)
            return call(response)

        setattr(AutoScalingResponse, name, printed)

    # The newest first. One is over when it is looked at for the second time; one to a version in
    # BROKEN goes back, as AWS would: to what the group was before.
    refreshes: list[dict[str, Any]] = []

    def start_instance_refresh(response: Any) -> Any:
        asked = response._get_params()
        refresh = {
            "InstanceRefreshId": f"refresh-{len(refreshes)}",
            "AutoScalingGroupName": asked["AutoScalingGroupName"],
            "Status": "Pending",
            "PercentageComplete": 0,
            "DesiredConfiguration": asked["DesiredConfiguration"],
        }
        refreshes.insert(0, refresh)
        return ActionResult({"InstanceRefreshId": refresh["InstanceRefreshId"]})

    def describe_instance_refreshes(response: Any) -> Any:
        for refresh in refreshes:
            policy = refresh["DesiredConfiguration"]["MixedInstancesPolicy"]
            version = policy["LaunchTemplate"]["LaunchTemplateSpecification"]["Version"]
            if refresh["Status"] == "Pending":
                refresh["Status"] = "InProgress"
            elif refresh["Status"] == "InProgress" and version in BROKEN:
                refresh["Status"] = "RollbackSuccessful"
                refresh["StatusReason"] = "an instance did not become ready"
            elif refresh["Status"] == "InProgress":
                refresh |= {"Status": "Successful", "PercentageComplete": 100}
                groups = response.autoscaling_backend.autoscaling_groups
                groups[refresh["AutoScalingGroupName"]].mixed_instances_policy = policy
        return ActionResult({"InstanceRefreshes": refreshes})

    def rollback_instance_refresh(response: Any) -> Any:
        refreshes[0]["Status"] = "RollbackSuccessful"
        return EmptyResult()

    AutoScalingResponse.start_instance_refresh = start_instance_refresh
    AutoScalingResponse.describe_instance_refreshes = describe_instance_refreshes
    AutoScalingResponse.rollback_instance_refresh = rollback_instance_refresh
    for name in (
        *("create_auto_scaling_group", "update_auto_scaling_group", "put_lifecycle_hook"),
        *("start_instance_refresh", "rollback_instance_refresh"),
    ):
        said(name)


def inventory(url: str) -> dict[str, int]:
    import boto3

    session = boto3.Session(
        aws_access_key_id="mock", aws_secret_access_key="mock", region_name=REGION
    )
    counts = {}
    for service, call, key in _LISTINGS:
        answer = getattr(session.client(service, endpoint_url=url), call)()
        counts[f"{service} {key}"] = sum(_there(resource) for resource in answer[key])
    return counts


def _there(resource: dict[str, Any] | str) -> bool:
    if isinstance(resource, str):
        return True
    if "ReservationId" in resource:
        return any(instance["State"]["Name"] not in _GONE for instance in resource["Instances"])
    return resource.get("State") not in _GONE


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", port]:
            serve(int(port))
        case ["inventory", url]:
            json.dump(inventory(url), sys.stdout)
        case _:
            sys.exit(__doc__)
