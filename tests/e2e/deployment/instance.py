"""An instance: a scratch root with the files of a plan, and stand-ins for the programs they call.

A stand-in notes how it was called. Folders of the system are replaced by folders of the test.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.e2e.deployment.tools import cloud_config

FOLDERS = (
    "/etc/os-release",
    "/etc/stable-diffusion",
    "/etc/systemd",
    "/opt/aws",
    "/opt/dlami",
    "/opt/stable-diffusion",
    "/run/stable-diffusion",
    "/var/lib/cloud",
    "/var/lib/stable-diffusion",
)
AGENT = "/opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl"
REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
IMAGE = f"{REGISTRY}/stable-diffusion:0.1.0"
INSTANCE = "i-0123456789abcdef0"

# Fails if its call begins with $FAILS, so many times; answers as the real one would.
STAND_IN = r"""#!/bin/bash
call="${0##*/} $*"
echo "$call" >>"$CALLS"
# A program without an end is ended.
[[ -z $STOP ]] || (($(wc -l <"$CALLS") < STOP * 2)) || kill $PPID
if [[ -n $FAILS && $call == $FAILS* ]] && (($(grep -cF -- "$FAILS" "$CALLS") <= TIMES)); then
    echo "${SAYS:-out of order}" >&2
    exit 1
fi
case "$call" in
    "aws ecr get-login-password"*) echo token ;;
    "aws s3 sync"*) [[ -n $NO_MODELS ]] || touch "${*: -1}/sd-1.5-fp16" ;;
    "aws ssm get-parameter"*) echo key-from-parameter-store ;;
    "aws secretsmanager get-secret-value"*) echo key-from-secrets-manager ;;
    "docker login"*) cat >"$CALLS.password" ;;
    "docker run"*) env >"$CALLS.environment" ;;
    "aws autoscaling describe-scaling-activities"*) echo "${FAILED_BOOTS:-0}" ;;
    "aws elbv2 describe-target-groups"*) echo arn:of:the-target-group ;;
    "curl"*"/metrics") cat "$METRICS" ;;
    "systemctl show"*) echo "${RESTARTS:-0}" ;;
    "curl"*"api/token"*) echo metadata-token ;;
    "curl"*"target-lifecycle-state") grep -q ^sleep "$CALLS" && echo "$STATE" || echo InService ;;
    "curl"*"spot/instance-action") [[ -n $SPOT ]] && echo "$SPOT" || exit 22 ;;
    "journalctl"*) printf '%s\n' "$KERNEL" ;;
    "mountpoint"*) [[ -n $INSTANCE_STORE ]] ;;
esac
"""


class Instance:
    """A scratch root with the files of a plan, and stand-ins for the programs of the system."""

    def __init__(self, root: Path, plan: Path) -> None:
        self.root = root
        self._calls = root / "calls"
        self._stand_ins = root / "bin"
        self._stand_ins.mkdir()
        names = ["aws", "chown", "curl", "dnf", "docker", "mountpoint", "nvidia-smi", "sleep"]
        names += ["journalctl", "systemctl"]
        for name in names:
            self._stand_in(self._stand_ins / name)
        self.agent = self.path(AGENT)
        self.agent.parent.mkdir(parents=True)
        self._stand_in(self.agent)
        for written in cloud_config(plan)["write_files"]:
            file = self.path(written["path"])
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self._moved(written["content"]))
            file.chmod(int(written["permissions"], 8))
        instance = self.path("/var/lib/cloud/data/instance-id")
        instance.parent.mkdir(parents=True)
        instance.write_text(f"{INSTANCE}\n")

        self.path("/etc/os-release").write_text('ID="amzn"\nPLATFORM_ID="platform:al2023"\n')
        self.metrics = root / "metrics"
        self.metrics.touch()

    def path(self, name: str) -> Path:
        return Path(self._moved(name))

    def _moved(self, text: str) -> str:
        return re.sub("|".join(FOLDERS), lambda folder: f"{self.root}{folder[0]}", text)

    @staticmethod
    def _stand_in(file: Path) -> None:
        file.write_text(STAND_IN)
        file.chmod(0o755)

    def run(self, program: str, **behaviour: str) -> subprocess.CompletedProcess[str]:
        """Run ``boot``, ``run`` or ``drain``; ``behaviour`` are variables of the stand-ins."""
        self._calls.write_text("")
        defaults = {"FAILS": "", "TIMES": "1000", "SPOT": "", "INSTANCE_STORE": ""}
        defaults |= {"NO_MODELS": "", "STOP": ""}
        return subprocess.run(
            [str(self.path(f"/opt/stable-diffusion/{program}"))],
            env={
                **defaults,
                **behaviour,
                "CALLS": str(self._calls),
                "METRICS": str(self.metrics),
                "PATH": f"{self._stand_ins}:{os.defpath}",
            },
            capture_output=True,
            text=True,
            timeout=120,
        )

    def calls(self, beginning: str = "") -> list[str]:
        """How the stand-ins were called by the last run, in order."""
        calls = self._calls.read_text().replace(str(self.root), "").splitlines()
        return [call for call in calls if call.startswith(beginning)]

    def note(self, kind: str) -> str:
        return self._calls.with_name(f"calls.{kind}").read_text()

    def reported(self) -> list[str]:
        """What the Auto Scaling group was told."""
        return [
            call.split()[-1] for call in self.calls("aws autoscaling complete-lifecycle-action")
        ]
