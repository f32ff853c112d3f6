"""An instance's programs, run as they come out of a plan."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.deployment.instance import IMAGE, INSTANCE, REGISTRY, Instance
from tests.e2e.deployment.tools import cloud_config


def test_cloud_init_runs_the_boot_program(full: Path) -> None:
    assert cloud_config(full)["runcmd"] == [["/opt/stable-diffusion/boot"]]
    permissions = {file["path"]: file["permissions"] for file in cloud_config(full)["write_files"]}
    assert permissions["/opt/stable-diffusion/boot"] == "0755"
    assert permissions["/etc/stable-diffusion/container.env"] == "0600"


def test_boot_starts_the_service(instance: Instance) -> None:
    done = instance.run("boot")
    assert done.returncode == 0, done.stdout + done.stderr
    steps = [
        "systemctl stop stable-diffusion-watch stable-diffusion-drain stable-diffusion",
        "amazon-cloudwatch-agent-ctl -a fetch-config",
        "nvidia-smi",
        "systemctl enable --now docker",
        f"docker login --username AWS --password-stdin {REGISTRY}",
        f"docker pull --quiet {IMAGE}",
        f"docker logout {REGISTRY}",
        "aws s3 sync",
        "aws elbv2 describe-target-groups",
        "systemctl daemon-reload",
        "systemctl enable --now stable-diffusion stable-diffusion-drain",
        "curl",
        "aws autoscaling complete-lifecycle-action",
        "systemctl enable --now stable-diffusion-watch",
    ]
    calls = instance.calls()
    at = [next(n for n, call in enumerate(calls) if call.startswith(step)) for step in steps]
    assert at == sorted(at)
    assert instance.reported() == ["CONTINUE"]
    assert instance.note("password") == "token\n"
    assert "http://127.0.0.1:3000/readyz" in instance.calls("curl")[0]
    assert not instance.calls("dnf"), "all of it is there"


def test_boot_can_be_run_again(instance: Instance) -> None:
    assert instance.run("boot").returncode == 0
    again = instance.run(
        "boot",
        FAILS="aws autoscaling",
        SAYS="ValidationError: No active Lifecycle Action found with instance ID",
    )
    assert again.returncode == 0, again.stdout


def test_boot_installs_what_is_missing(instance: Instance) -> None:
    instance.agent.unlink()
    done = instance.run("boot")
    (call,) = instance.calls("dnf")
    assert call.startswith("dnf install")
    assert call.endswith(" amazon-cloudwatch-agent")
    assert done.returncode != 0, "the stand-in for dnf installs nothing"


def test_models_come_from_the_bucket(instance: Instance) -> None:
    assert instance.run("boot").returncode == 0
    (sync,) = instance.calls("aws s3 sync")
    assert sync.endswith(" s3://models/pictures/sd/ /var/lib/stable-diffusion/models/")
    assert instance.path("/var/lib/stable-diffusion/models/sd-1.5-fp16").exists()


def test_models_go_to_the_instance_store_where_there_is_one(instance: Instance) -> None:
    assert instance.run("boot", INSTANCE_STORE="yes").returncode == 0
    assert instance.path("/opt/dlami/nvme/models/sd-1.5-fp16").exists()
    assert instance.path("/var/lib/stable-diffusion/models/sd-1.5-fp16").exists()


def test_what_fails_for_a_moment_is_tried_again(instance: Instance) -> None:
    done = instance.run("boot", FAILS="docker pull", TIMES="2")
    assert done.returncode == 0, done.stdout
    assert len(instance.calls("docker pull")) == 3
    assert instance.calls("sleep") == ["sleep 5", "sleep 10"]


@pytest.mark.parametrize(
    ("behaviour", "step"),
    [
        ({"FAILS": "amazon-cloudwatch-agent-ctl"}, "start the CloudWatch agent"),
        ({"FAILS": "nvidia-smi"}, "see a GPU"),
        ({"FAILS": "systemctl enable --now docker"}, "start docker"),
        ({"FAILS": "aws ecr"}, "log in to"),
        ({"FAILS": "docker login"}, "log in to"),
        ({"FAILS": "docker pull"}, "pull"),
        ({"FAILS": "aws s3 sync"}, "copy the models"),
        ({"NO_MODELS": "yes"}, "copy the models"),
        ({"FAILS": "aws elbv2"}, "find the target group"),
        ({"FAILS": "systemctl daemon-reload"}, "start the service"),
        ({"FAILS": "systemctl enable --now stable-diffusion"}, "start the service"),
        ({"FAILS": "curl"}, "become ready"),
        ({"FAILS": "curl", "RESTARTS": "5"}, "become ready"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value.values()),
)
def test_a_step_that_fails_asks_for_another_instance(
    instance: Instance, behaviour: dict[str, str], step: str
) -> None:
    done = instance.run("boot", **behaviour)
    assert done.returncode != 0
    assert f"FAILED to {step}" in done.stdout
    assert instance.reported() == ["ABANDON"]


def test_another_system_is_refused_before_anything_is_tried(instance: Instance) -> None:
    instance.path("/etc/os-release").write_text('ID=ubuntu\nVERSION_ID="24.04"\n')
    done = instance.run("boot")
    assert "FAILED to see Amazon Linux 2023" in done.stdout
    assert instance.reported() == ["ABANDON"]
    assert not instance.calls("docker")


def test_boots_that_fail_again_and_again_are_braked(instance: Instance) -> None:
    """A roll-out goes back; where there is none, the group launches no more."""
    broken = {"FAILS": "nvidia-smi"}
    for failures, braked in (("2", []), ("3", ["rollback-instance-refresh"])):
        assert instance.run("boot", **broken, FAILED_BOOTS=failures).returncode != 0
        called = [call.split()[2] for call in instance.calls("aws autoscaling")]
        assert called == ["describe-scaling-activities", *braked, "complete-lifecycle-action"]
        assert instance.reported() == ["ABANDON"]
    since = instance.calls("aws autoscaling describe-scaling-activities")[0]
    assert "contains(not_null(StatusMessage, ''), 'abandoned')" in since

    # The stand-in fails one kind of call: here the roll-out that is not there, so the boot is
    # failed by a service that ends.
    done = instance.run(
        "boot",
        FAILS="aws autoscaling rollback-instance-refresh",
        FAILED_BOOTS="3",
        NO_MODELS="yes",
    )
    assert done.returncode != 0
    (suspended,) = instance.calls("aws autoscaling suspend-processes")
    assert suspended.endswith(" --scaling-processes Launch")
    assert instance.reported() == ["ABANDON"]


def test_what_comes_before_the_service_is_of_the_same_time(instance: Instance) -> None:
    """START_SECONDS are counted from the boot, as the group's patience is."""
    boot = instance.path("/opt/stable-diffusion/boot")
    boot.write_text(
        boot.read_text().replace("set -Eeuo pipefail", "set -Eeuo pipefail\nSECONDS=290")
    )
    done = instance.run("boot", FAILS="curl")
    assert "did not answer 200 within 300 s" in done.stdout
    assert 1 <= len(instance.calls("curl")) <= 2


def test_a_service_that_ends_again_and_again_is_not_waited_for(instance: Instance) -> None:
    done = instance.run("boot", FAILS="curl", RESTARTS="5")
    assert "the service has ended 5 times" in done.stdout
    assert len(instance.calls("curl")) == 1


def test_a_group_that_cannot_be_told_is_a_failure_too(instance: Instance) -> None:
    done = instance.run("boot", FAILS="aws autoscaling")
    assert done.returncode != 0
    assert "FAILED to report to the Auto Scaling group" in done.stdout
    assert set(instance.reported()) == {"CONTINUE", "ABANDON"}


def options(instance: Instance) -> str:
    (call,) = instance.calls("docker run")
    return call


def test_the_container(instance: Instance) -> None:
    assert instance.run("run").returncode == 0
    call = options(instance)
    assert call.endswith(f" {IMAGE}")
    for option in [
        "--gpus all",
        "--init",
        "--read-only",
        "--cap-drop ALL",
        "--security-opt no-new-privileges",
        "--publish 3000:3000",
        "--stop-timeout 150",
        "--volume /var/lib/stable-diffusion/models:/models:ro",
        "--log-opt awslogs-group=/stable-diffusion/pictures",
        f"--log-opt awslogs-stream={INSTANCE}/service",
    ]:
        assert f" {option} " in call


def test_settings_of_the_service(instance: Instance) -> None:
    settings = instance.path("/etc/stable-diffusion/container.env").read_text().splitlines()
    assert sorted(settings) == [
        "SD_API_KEYS_FILE=/run/secrets/api-keys",
        "SD_DEADLINE=300",
        "SD_DRAIN=120",
        "SD_KEEP_ALIVE_SECONDS=375",
        "SD_LOG_FORMAT=json",
        "SD_METRICS_FROM=127.0.0.1,172.17.0.1",
        "SD_MODELS=sd-1.5",
        "SD_MODEL_SOURCE=/models",
        "SD_PRECISION=fp16",
        "SD_TRUSTED_PROXIES=10.60.0.0/16",
    ]


def test_secrets_are_in_the_environment_and_nowhere_else(instance: Instance) -> None:
    assert instance.run("run").returncode == 0
    environment = instance.note("environment").splitlines()
    assert "ANOTHER_TOKEN=key-from-parameter-store" in environment
    assert "HF_TOKEN=key-from-secrets-manager" in environment
    assert "--env ANOTHER_TOKEN" in options(instance)
    assert "--env HF_TOKEN" in options(instance)
    assert "key-from" not in "".join(instance.calls())
    for name in ("deployment.env", "container.env"):
        assert "key-from" not in instance.path(f"/etc/stable-diffusion/{name}").read_text()


def test_the_keys_of_clients_are_in_a_file_that_the_container_alone_reads(
    instance: Instance,
) -> None:
    assert instance.run("run").returncode == 0
    file = instance.path("/run/stable-diffusion/api-keys")
    assert file.read_text() == "key-from-parameter-store\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert instance.calls("chown") == ["chown 1034 /run/stable-diffusion/api-keys.new"]
    assert " --volume /run/stable-diffusion:/run/secrets:ro " in options(instance)


@pytest.mark.parametrize("store", ["aws ssm", "aws secretsmanager"])
def test_without_a_secret_there_is_no_container(instance: Instance, store: str) -> None:
    assert instance.run("run", FAILS=store).returncode != 0
    assert not instance.calls("docker")


def test_the_units_are_well_formed(instance: Instance) -> None:
    units = sorted(instance.path("/etc/systemd").glob("system/*.service"))
    assert len(units) == 3
    if (verify := shutil.which("systemd-analyze")) is None:
        pytest.skip("systemd is not installed")
    done = subprocess.run([verify, "verify", *map(str, units)], capture_output=True, text=True)
    # docker is not here.
    complaints = [line for line in done.stderr.splitlines() if "docker" not in line]
    assert not [line for line in complaints if "stable-diffusion" in line], done.stderr
