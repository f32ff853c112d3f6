"""The scripts of deployment/eks, with stand-ins for the programs that they run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.e2e.deployment.tools import tool
from tests.unit.deployment.manifests import built

EKS = ROOT / "deployment" / "eks"
CERTIFICATE = "arn:aws:acm:eu-central-1:210987654321:certificate/a-b"
# Each writes down how it was called, and what it was given.
RECORD = """\
echo "$name $*" >> "$CALLS"
case "$*" in *"--filename -"*|*/dev/stdin*) { echo; echo ---; cat; } >> "$GIVEN" ;; esac
"""
OUTPUTS = {
    "cluster_name": "drawings",
    "region": "eu-central-1",
    "vpc_id": "vpc-1",
    "interruption_queue": "drawings-interruptions",
    "engine_node_role": "drawings-eu-central-1-engine-node",
    "model_source": "s3://bucket/models",
}
PROGRAMS = {
    "terraform": "".join(
        f'[[ "$*" == *"-raw {name}" ]] && echo {value}\n' for name, value in OUTPUTS.items()
    )
    + "exit 0\n",
    "helm": RECORD,
    "openssl": "echo 0123456789abcdef",
    "aws": RECORD + '[[ "$*" != *describe-instances* ]] || cat "$LEFT"\n',
    # Folders are made into manifests for good; secrets are not there yet.
    "kubectl": """\
[[ $1 == kustomize ]] && exec "$KUBECTL" "$@"
[[ "$*" == *"get secret"* ]] && exit 1
"""
    + RECORD,
}


class Run:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls_file = folder / "calls"
        self.given_file = folder / "given"
        self.left = folder / "left"
        for file in (self.calls_file, self.given_file, self.left):
            file.touch()
        for name, body in PROGRAMS.items():
            program = folder / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f"#!/bin/bash\nname={name}\n{body}")
            program.chmod(0o755)

    def __call__(
        self, script: str, *arguments: str, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        kubectl = next(
            (
                path
                for folder in os.environ["PATH"].split(":")
                if (path := Path(folder) / "kubectl").exists()
            ),
            None,
        )
        if kubectl is None:
            pytest.skip("kubectl is not installed")
        return subprocess.run(
            ["bash", str(EKS / script), *arguments],
            env={
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                "HOME": str(self.folder),
                "KUBECTL": str(kubectl),
                "CALLS": str(self.calls_file),
                "GIVEN": str(self.given_file),
                "LEFT": str(self.left),
                **variables,
            },
            capture_output=True,
            text=True,
            timeout=120,
        )

    def calls(self, program: str) -> list[str]:
        lines = self.calls_file.read_text().splitlines()
        return [line for line in lines if line.startswith(f"{program} ")]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def charts() -> list[list[str]]:
    lines = (EKS / "charts.txt").read_text().splitlines()
    return [line.split() for line in lines if line and not line.startswith("#")]


def test_shellcheck_and_charts() -> None:
    scripts = [str(path) for path in sorted(EKS.glob("*.sh"))]
    done = subprocess.run(
        [tool("shellcheck"), "-x", *scripts], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert all(len(chart) == 5 for chart in charts())
    # A file of values belongs to a release; a version is one.
    assert {path.stem for path in EKS.glob("values/*.yaml")} < {chart[0] for chart in charts()}
    assert all(part.isdigit() for chart in charts() for part in chart[3].split("."))
    # Custom resources come before what has any.
    order = [chart[0] for chart in charts()]
    assert order.index("kube-prometheus-stack") < order.index("kuberay-operator")
    assert order.index("istiod") < order.index("kuberay-operator")


def test_install(run: Run) -> None:
    image = "210987654321.dkr.ecr.eu-central-1.amazonaws.com/drawings:0.2.0"
    done = run(
        *("install.sh", "gpu"),
        IMAGE=image,
        HOSTNAME="drawings.example.org",
        CERTIFICATE=CERTIFICATE,
        CIDRS="10.0.0.0/8,203.0.113.0/24",
    )
    assert done.returncode == 0, done.stderr

    helm = run.calls("helm")
    assert [call.split()[3] for call in helm] == [chart[0] for chart in charts()]
    assert all(f"--version {chart[3]} " in call for call, chart in zip(helm, charts(), strict=True))
    karpenter = helm[1]
    assert "settings.clusterName=drawings" in karpenter
    assert "settings.interruptionQueue=drawings-interruptions" in karpenter
    assert "vpcId=vpc-1" in helm[2]
    (configured,) = run.calls("aws")
    assert "update-kubeconfig --name drawings --region eu-central-1 --kubeconfig" in configured
    assert run.calls("kubectl")[-1].startswith("kubectl --namespace stable-diffusion get ingress")

    given = run.given_file.read_text()
    documents = [one for one in yaml.safe_load_all(given) if isinstance(one, dict)]
    kinds = {one["kind"] for one in documents}
    assert {"NodePool", "EC2NodeClass", "Secret", "RayService", "Ingress"} <= kinds
    # All that stands for something is replaced, and nothing else has changed.
    for example in ("example.com", "example-models", "123456789012", "pictures"):
        assert example not in given
    assert given.count(f"image: {image}\n") == 3
    for value in ("drawings-eu-central-1-engine-node", "s3://bucket/models", CERTIFICATE):
        assert value in given
    assert "inbound-cidrs: 10.0.0.0/8,203.0.113.0/24" in given
    assert len(documents) >= len(built(EKS / "cluster")) + len(
        built(ROOT / "deployment/kuberay/overlays/gpu")
    )
    assert "stable_diffusion_ui" not in given
    # Not where others see it: in arguments, or in what is printed.
    assert "0123456789abcdef" not in done.stdout + done.stderr + run.calls_file.read_text()


def test_install_with_the_page(run: Run) -> None:
    page = {"PAGE_IMAGE": "a/drawings:page-0.2.0", "PAGE_HOSTNAME": "studio.example.org"}
    done = run(
        *("install.sh", "cpu"),
        IMAGE="a/drawings:0.2.0",
        HOSTNAME="a.example.org",
        CERTIFICATE=CERTIFICATE,
        **page,
    )
    assert done.returncode == 0, done.stderr

    given = run.given_file.read_text()
    assert given.count("image: a/drawings:page-0.2.0\n") == 1
    assert given.count("image: a/drawings:0.2.0\n") == 3
    assert "host: studio.example.org\n" in given
    assert "example.com" not in given
    assert run.calls("kubectl")[-1].startswith("kubectl --namespace stable-diffusion get ingress p")


@pytest.mark.parametrize(
    ("flavour", "changed", "sentence"),
    [
        ("tpu", {}, "usage: install.sh gpu|cpu"),
        ("gpu", {"IMAGE": "a/b:latest"}, "IMAGE must have a tag that does not move"),
        ("gpu", {"CERTIFICATE": "mine.pem"}, "CERTIFICATE must be the ARN"),
        ("gpu", {"SCHEME": "open"}, "SCHEME must be internal or internet-facing"),
        ("gpu", {"PAGE_IMAGE": "a/b:latest"}, "PAGE_IMAGE must have a tag that does not move"),
        ("gpu", {"PAGE_IMAGE": "a/b:2"}, "PAGE_HOSTNAME must be the name of the page"),
    ],
)
def test_install_refuses(run: Run, flavour: str, changed: dict[str, str], sentence: str) -> None:
    good = {"IMAGE": "a/b:1", "HOSTNAME": "a.example.org", "CERTIFICATE": CERTIFICATE}
    done = run("install.sh", flavour, **{**good, **changed})

    assert done.returncode == 1
    assert sentence in done.stderr
    assert run.calls_file.read_text() == ""


def test_cleanup_in_its_order(run: Run) -> None:
    done = run("cleanup.sh")
    assert done.returncode == 0, done.stderr

    calls = run.calls_file.read_text().splitlines()
    marks = [
        "delete --ignore-not-found --wait --timeout 900s --namespace stable-diffusion ingress",
        "rayservices.ray.io --namespace stable-diffusion --all",
        "nodepools.karpenter.sh --all",
        "nodeclaims.karpenter.sh --all",
        "900s namespace stable-diffusion",
        "helm uninstall kuberay-operator",
        "helm uninstall aws-load-balancer-controller",
        "helm uninstall karpenter ",
        "helm uninstall karpenter-crd",
        "namespace monitoring istio-system kuberay-operator",
        "aws elbv2 describe-load-balancers",
        "aws ec2 describe-volumes",
    ]
    places = [
        next(place for place, call in enumerate(calls) if mark in call and "get crd" not in call)
        for mark in marks
    ]
    assert places == sorted(places)
    assert "nothing is left" in done.stderr


def test_cleanup_says_what_is_left(run: Run) -> None:
    run.left.write_text("i-0abc\ti-0def\n")
    done = run("cleanup.sh", WAIT="0")

    assert done.returncode == 1
    assert "left in AWS, and in the way of terraform destroy: i-0abc i-0def" in done.stderr


def test_simulate(run: Run) -> None:
    python = run.folder / "python"
    python.write_text(f"#!/bin/bash\nname=python\n{RECORD}")
    python.chmod(0o755)
    done = run("simulate.sh", "burst", "60", URL="https://a.example.org", PYTHON=str(python))

    assert done.returncode == 0, done.stderr
    (called,) = run.calls("python")
    assert called == (
        "python -m benchmarks simulate --url https://a.example.org --profile burst --duration 60"
    )
    assert run("simulate.sh", "flat").returncode == 1
    assert run("simulate.sh", "ramp", "1h").returncode == 1
