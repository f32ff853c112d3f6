#!/usr/bin/env python3
"""Rolls a deployment forward to a version of its launch template, or back, and says how it went.

`terraform apply` writes a new version of the launch template and leaves the instances alone. This
replaces them, one after another, and ends when that is done: with 0 if the group runs what it was
asked to run, with 1 if it does not (it has failed, was cancelled, or has rolled back). A version
that does not get ready is rolled back by the group itself.

It wants the AWS CLI, and Terraform with the deployment's state in the current folder (or --folder).

    rollout.py roll [--version N] [--no-alarm] [--force]
    rollout.py rollback [--version N]
    rollout.py versions
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

# Seconds between two looks at a refresh.
PAUSE = float(os.environ.get("ROLLOUT_PAUSE", "10"))
RUNNING = ("Pending", "InProgress", "Cancelling", "RollbackInProgress", "Baking")


class RolloutFailed(Exception):
    """The group does not run what it was asked to run; the message says why."""


class Deployment:
    """A deployment, by what its Terraform state says of it, and the AWS CLI."""

    def __init__(self, folder: str) -> None:
        told = _run("terraform", f"-chdir={folder}", "output", "-json", "rollout")
        self.rollout: dict[str, Any] = json.loads(told)
        self.group: str = self.rollout["group"]

    def aws(self, service: str, operation: str, *arguments: str) -> dict[str, Any]:
        """Call AWS; its answer, or nothing where there is none."""
        region = self.rollout["region"]
        command = ("aws", service, operation, "--region", region, "--output", "json", *arguments)
        answer: dict[str, Any] = json.loads(_run(*command) or "{}")
        return answer

    def policy(self) -> dict[str, Any]:
        """What the group launches: the launch template, its version, the types of instances."""
        answer = self.aws(
            *("autoscaling", "describe-auto-scaling-groups"),
            *("--auto-scaling-group-names", self.group),
        )
        if not answer["AutoScalingGroups"]:
            raise RolloutFailed(f"there is no Auto Scaling group {self.group}")
        (group,) = answer["AutoScalingGroups"]
        found: dict[str, Any] = group["MixedInstancesPolicy"]
        return found

    def versions(self) -> dict[int, str]:
        """The versions of the launch template, with the image of each."""
        answer = self.aws(
            *("ec2", "describe-launch-template-versions"),
            *("--launch-template-id", self.rollout["launch_template"]),
        )
        found = answer["LaunchTemplateVersions"]
        return {one["VersionNumber"]: one.get("VersionDescription", "") for one in found}

    def refreshes(self) -> list[dict[str, Any]]:
        """The roll-outs of the group, the newest first."""
        answer = self.aws(
            *("autoscaling", "describe-instance-refreshes"),
            *("--auto-scaling-group-name", self.group, "--no-paginate"),
        )
        found: list[dict[str, Any]] = answer["InstanceRefreshes"]
        return found

    def refresh(self, version: int, *, alarm: bool, force: bool) -> str:
        """Begin to replace the instances by those of another version; returns the refresh's id."""
        policy = self.policy()
        specification(policy)["Version"] = str(version)
        # AWS takes a name or an id, and tells both.
        specification(policy).pop("LaunchTemplateName", None)
        preferences: dict[str, Any] = {
            "MinHealthyPercentage": self.rollout["min_healthy_percentage"],
            "MaxHealthyPercentage": self.rollout["max_healthy_percentage"],
            "SkipMatching": not force,
            "AutoRollback": True,
        }
        if alarm and self.rollout["alarms"]:
            preferences["AlarmSpecification"] = {"Alarms": self.rollout["alarms"]}
        # The brake on failing boots, which would hold this one up.
        self.aws(
            *("autoscaling", "resume-processes", "--auto-scaling-group-name", self.group),
            *("--scaling-processes", "Launch"),
        )
        answer = self.aws(
            *("autoscaling", "start-instance-refresh", "--auto-scaling-group-name", self.group),
            *("--desired-configuration", json.dumps({"MixedInstancesPolicy": policy})),
            *("--preferences", json.dumps(preferences)),
        )
        identity: str = answer["InstanceRefreshId"]
        return identity


def specification(policy: dict[str, Any]) -> dict[str, Any]:
    """Where a group's policy says which version of the launch template."""
    found: dict[str, Any] = policy["LaunchTemplate"]["LaunchTemplateSpecification"]
    return found


def roll(deployment: Deployment, options: argparse.Namespace) -> None:
    versions = deployment.versions()
    now = int(specification(deployment.policy())["Version"])
    version = options.version or max(versions)
    if version == now and not options.force:
        print(f"{deployment.group} has version {now} already: {versions[now]}")
        return
    _begin(deployment, now, version, alarm=not options.no_alarm, force=options.force)


def rollback(deployment: Deployment, options: argparse.Namespace) -> None:
    newest = next(iter(deployment.refreshes()), None)
    if newest is not None and newest["Status"] in ("Pending", "InProgress", "Baking"):
        deployment.aws(
            *("autoscaling", "rollback-instance-refresh"),
            *("--auto-scaling-group-name", deployment.group),
        )
        _wait(deployment, newest["InstanceRefreshId"], wanted="RollbackSuccessful")
        return
    now = int(specification(deployment.policy())["Version"])
    version = options.version or _before(deployment, now)
    # An alarm that is on already must not keep the way back closed.
    _begin(deployment, now, version, alarm=False, force=False)


def show(deployment: Deployment, options: argparse.Namespace) -> None:
    now = int(specification(deployment.policy())["Version"])
    for version, image in sorted(deployment.versions().items()):
        print(f"{'*' if version == now else ' '} {version}  {image}")


def _before(deployment: Deployment, now: int) -> int:
    """The version before this one: of the roll-outs that went well the last, or else by number."""
    known = set(deployment.versions())
    ran = [
        int(specification(refresh["DesiredConfiguration"]["MixedInstancesPolicy"])["Version"])
        for refresh in deployment.refreshes()
        if refresh["Status"] == "Successful"
        and "MixedInstancesPolicy" in refresh.get("DesiredConfiguration", {})
    ]
    earlier = [version for version in ran if version < now and version in known]
    lower = [version for version in known if version < now]
    if not earlier and not lower:
        raise RolloutFailed(f"there is no version before {now} to roll back to")
    return earlier[0] if earlier else max(lower)


def _begin(deployment: Deployment, now: int, version: int, *, alarm: bool, force: bool) -> None:
    versions = deployment.versions()
    if version not in versions:
        raise RolloutFailed(f"there is no version {version}; there are {sorted(versions)}")
    print(f"{deployment.group}: version {now}, {versions.get(now, 'deleted')}")
    print(f"to version {version}, {versions[version]}", flush=True)
    identity = deployment.refresh(version, alarm=alarm, force=force)
    _wait(deployment, identity, wanted="Successful")


def _wait(deployment: Deployment, identity: str, *, wanted: str) -> None:
    """Until the refresh is over; says what changes meanwhile."""
    said = ""
    while True:
        (refresh,) = (one for one in deployment.refreshes() if one["InstanceRefreshId"] == identity)
        status = refresh["Status"]
        reason = refresh.get("StatusReason", "")
        line = f"{status}, {refresh.get('PercentageComplete', 0)} %{reason and ': '}{reason}"
        if line != said:
            print(line, flush=True)
            said = line
        if status not in RUNNING:
            break
        time.sleep(PAUSE)
    now = specification(deployment.policy())["Version"]
    if status != wanted:
        raise RolloutFailed(f"{status}: {deployment.group} runs version {now}. {reason}")
    print(f"{deployment.group} runs version {now}")


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise RolloutFailed(f"{command[0]} is not installed, or not in PATH") from error
    if done.returncode:
        raise RolloutFailed(f"{' '.join(command[:3])} failed: {done.stderr.strip()}")
    return done.stdout


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 if the group runs what it was asked to, else 1."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", default=".", help="of the Terraform root (default: this one)")
    commands = parser.add_subparsers(required=True)
    for name, command in (("roll", roll), ("rollback", rollback), ("versions", show)):
        one = commands.add_parser(name)
        one.set_defaults(command=command)
        if command is not show:
            one.add_argument("--version", type=int, help="of the launch template")
        if command is roll:
            one.add_argument(
                "--no-alarm",
                action="store_true",
                help="for a hotfix: also while responses are errors",
            )
            one.add_argument(
                "--force",
                action="store_true",
                help="replace instances that have the version already",
            )
    options = parser.parse_args(arguments)
    try:
        options.command(Deployment(options.folder), options)
    except RolloutFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
