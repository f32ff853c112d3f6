"""How an instance goes: drained by the group, by an interruption, or replaced."""

from __future__ import annotations

from tests.e2e.deployment.instance import INSTANCE, Instance

IN_FLIGHT = """\
bentoml_api_server_request_in_progress{endpoint="/metrics",service_name="sd"} 1.0
bentoml_api_server_request_in_progress{endpoint="/txt2img",service_name="sd"} REQUESTS
"""


def test_drains_when_the_group_ends_the_instance(instance: Instance) -> None:
    """No more requests come; those that are here end; then the service is stopped."""
    assert instance.run("boot").returncode == 0
    instance.metrics.write_text(IN_FLIGHT.replace("REQUESTS", "0.0"))
    done = instance.run("drain", STATE="Terminated")
    assert done.returncode == 0, done.stderr
    steps = [call for call in instance.calls() if not call.startswith(("curl", "sleep 5"))]
    assert steps[:4] == [
        "systemctl stop stable-diffusion-watch",
        "aws elbv2 deregister-targets --region us-east-1 "
        f"--targets Id={INSTANCE} --target-group-arn arn:of:the-target-group",
        "sleep 10",
        "systemctl stop stable-diffusion",
    ]
    assert "--lifecycle-hook-name drained" in steps[4]
    assert instance.reported() == ["CONTINUE"]


def test_requests_that_are_here_are_waited_for(instance: Instance) -> None:
    instance.metrics.write_text(IN_FLIGHT.replace("REQUESTS", "2.0"))
    assert instance.run("drain", STATE="Terminated").returncode == 0
    waited = instance.calls()[: instance.calls().index("systemctl stop stable-diffusion")]
    assert waited.count("sleep 5") == 1 + 360 // 5, "once for its end, then as long as one may take"


def test_the_group_is_told_until_it_listens(instance: Instance) -> None:
    """It waits for the instance only once its load balancer has let go."""
    done = instance.run("drain", STATE="Terminated", FAILS="aws autoscaling complete", TIMES="3")
    assert done.returncode == 0
    assert instance.reported() == ["CONTINUE"] * 4


def test_drains_at_once_when_a_spot_instance_is_interrupted(instance: Instance) -> None:
    instance.metrics.write_text(IN_FLIGHT.replace("REQUESTS", "2.0"))
    done = instance.run("drain", SPOT='{"action": "terminate"}', FAILS="aws elbv2")
    assert done.returncode == 0, done.stderr
    assert instance.calls("systemctl") == [
        "systemctl stop stable-diffusion-watch",
        "systemctl stop stable-diffusion",
    ]
    assert not [call for call in instance.calls("curl") if call.endswith("/metrics")]


def test_a_service_that_stays_away_is_replaced_and_one_that_restarts_is_not(
    instance: Instance,
) -> None:
    assert instance.run("watch", FAILS="curl", TIMES="19", STOP="25").returncode != 0
    assert not instance.calls("aws autoscaling"), "it was back before the limit"
    assert instance.run("watch", FAILS="curl").returncode == 0
    keys, told = instance.calls("aws")
    assert "ssm get-parameter" in keys, "who is revoked is locked out within five minutes"
    assert "set-instance-health" in told
    assert "--health-status Unhealthy" in told
    assert len(instance.calls("sleep 15")) == 20


def test_a_broken_gpu_is_told_and_a_program_that_failed_is_not(instance: Instance) -> None:
    """In lines that begin as the alarm's filter wants them, with what they are counted by."""
    broken = "NVRM: Xid (PCI:0000:00:1e): 79, pid=812, GPU has fallen off the bus."
    failed = "NVRM: Xid (PCI:0000:00:1e): 45, pid=812, name=python, Ch 00000008"
    done = instance.run("watch", FAILS="curl", KERNEL=f"{failed}\n{broken}\nusb 1-1: new device")
    told = [line for line in done.stdout.splitlines() if "Xid" in line]
    assert set(told) == {f"gpu-fault: pictures {broken}"}
    assert len(told) == len(instance.calls("journalctl")) == 5, "every minute"
    assert "--cursor-file /run/stable-diffusion-watch/kernel" in instance.calls("journalctl")[0]

    quiet = instance.run("watch", FAILS="curl", KERNEL="")
    assert "Xid" not in quiet.stdout
    assert "cannot be read" not in quiet.stdout
