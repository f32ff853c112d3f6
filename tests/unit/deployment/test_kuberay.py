"""The manifests for a cluster with KubeRay and Karpenter, as they are applied."""

from __future__ import annotations

import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployment.ray.arguments import Arguments
from settings import Settings
from tests.conftest import ROOT
from tests.e2e.deployment.tools import tool
from tests.unit.deployment import ray_jobs
from tests.unit.deployment.manifests import built, faults, one

KUBERAY = ROOT / "deployment" / "kuberay"
CLUSTER = ROOT / "deployment" / "eks" / "cluster"
USER = 1034  # the image's

Document = dict[str, Any]


@pytest.fixture(scope="module")
def cluster() -> list[Document]:
    return built(CLUSTER)


@pytest.fixture(scope="module", params=["gpu", "cpu"])
def service(request: pytest.FixtureRequest) -> list[Document]:
    return built(KUBERAY / "overlays" / request.param)


def groups(documents: list[Document]) -> dict[str, Document]:
    """The groups of Ray's nodes, by name."""
    spec = one(documents, "RayService")["spec"]["rayClusterConfig"]
    workers = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    return {"head": spec["headGroupSpec"], **workers}


def pods(documents: list[Document]) -> list[Document]:
    """The pods of a RayService, which checks of pods do not look for there."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": "stable-diffusion", **group["template"]["metadata"]}
            | {"name": f"ray-{name}"},
            "spec": group["template"]["spec"],
        }
        for name, group in groups(documents).items()
    ]


@pytest.mark.slow
def test_schemas_and_checkov(cluster: list[Document], tmp_path: Path) -> None:
    """Of Kubernetes and of each operator; checkov with written exceptions."""
    service, on_cpus = (built(KUBERAY / "overlays" / overlay) for overlay in ("gpu", "cpu"))
    documents = [*cluster, *service, *pods(service), one(on_cpus, "RayService")]
    documents += ray_jobs.checked(ray_jobs.applied())
    documents += built(KUBERAY / "page")
    assert faults(documents) == []

    file = tmp_path / "manifests.yaml"
    file.write_text(yaml.safe_dump_all(documents))
    done = subprocess.run(
        [
            *(tool("checkov"), "--config-file", str(ROOT / ".checkov.yaml"), "--skip-download"),
            *("--framework", "kubernetes", "--file", str(file)),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "Failed checks: 0" in done.stdout, "it has checked nothing"


def test_what_is_wrong_is_said(cluster: list[Document]) -> None:
    pool = deepcopy(one(cluster, "NodePool", "gpu"))
    pool["spec"]["disruption"]["consolidationPolicy"] = "Never"
    node_class = deepcopy(one(cluster, "EC2NodeClass", "gpu"))
    node_class["spec"]["instanceProfile"] = "another"
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "a"},
        "spec": {"port": 1},
    }
    unknown = {"apiVersion": "example.com/v1", "kind": "Nothing", "metadata": {"name": "b"}}

    said = faults([pool, node_class, service, unknown])

    assert [fault.partition(":")[0] for fault in said] == [
        *("NodePool gpu", "EC2NodeClass gpu", "Service a", "Nothing b"),
    ]
    assert "consolidationPolicy" in said[0]
    assert "instanceProfile" in said[1]  # a rule in CEL


def test_the_head_has_no_work_and_its_state_is_elsewhere(service: list[Document]) -> None:
    spec = one(service, "RayService")["spec"]
    config = spec["rayClusterConfig"]

    assert config["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert config["enableInTreeAutoscaling"] is True
    assert config["autoscalerOptions"]["version"] == "v2"
    assert config["authOptions"] == {"mode": "token", "secretName": "ray-token"}
    redis = config["gcsFaultToleranceOptions"]
    host, _, port = redis["redisAddress"].partition(":")
    assert one(service, "Service", host)["spec"]["ports"][0]["port"] == int(port)
    # During an upgrade there are two clusters, which must not share it.
    assert "externalStorageNamespace" not in redis
    # In requirements-ray.txt, and what decides about the probes.
    assert f"=={config['rayVersion']}" in (ROOT / "requirements-ray.txt").read_text()
    assert spec["rayClusterDeletionDelaySeconds"] > Settings().drain


def test_pods(service: list[Document]) -> None:
    labels = one(service, "NetworkPolicy", "ray")["spec"]["podSelector"]["matchLabels"]
    account = one(service, "ServiceAccount")["metadata"]["name"]
    for pod in pods(service):
        spec = pod["spec"]
        (container,) = spec["containers"]
        context = container["securityContext"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}

        assert pod["metadata"]["labels"] == labels
        assert pod["metadata"]["annotations"] == {"karpenter.sh/do-not-disrupt": "true"}
        assert spec["serviceAccountName"] == account
        assert spec["securityContext"]["runAsUser"] == USER
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == {
            *("/tmp", "/var/lib/bentoml", "/dev/shm"),
        }
        assert {"startupProbe", "readinessProbe", "livenessProbe"} < set(container)
        assert (
            container["resources"]["limits"]["memory"]
            == (container["resources"]["requests"]["memory"])
        )
        assert ports["serve"] == 8000
        if pod["metadata"]["name"] != "ray-head":
            assert container["readinessProbe"]["httpGet"] == {"path": "/-/healthz", "port": "serve"}
            assert spec["terminationGracePeriodSeconds"] > Settings().drain
            # Only the autoscaler, beside the head, asks the API server.
            assert spec["automountServiceAccountToken"] is False


def test_the_application(service: list[Document], cluster: list[Document]) -> None:
    config = yaml.safe_load(one(service, "RayService")["spec"]["serveConfigV2"])
    (application,) = config["applications"]
    arguments = Arguments.model_validate(application["args"])
    (engines,) = arguments.engines
    group = groups(service)["engine"]
    start = group["rayStartParams"]

    assert config["http_options"] == {"host": "0.0.0.0", "port": 8000}
    assert application["import_path"] == "deployment.ray.app:build"
    known = {f"SD_{name.upper()}" for name in Settings.model_fields}
    assert set(application["runtime_env"]["env_vars"]) <= known
    # A node of an engine is full with it: what else were there would keep it.
    assert float(start["num-cpus"]) == engines.num_cpus
    assert float(start["num-gpus"]) == engines.num_gpus
    assert engines.min_replicas == group["minReplicas"] == 0
    assert engines.max_replicas == group["maxReplicas"]
    assert float(groups(service)["site"]["rayStartParams"]["num-cpus"]) < engines.num_cpus
    # Where such a pod can be.
    pool = one(
        cluster, "NodePool", group["template"]["spec"]["nodeSelector"]["stable-diffusion/pool"]
    )
    tolerated = {one["key"] for one in group["template"]["spec"].get("tolerations", ())}
    assert {
        taint["key"] for taint in pool["spec"]["template"]["spec"].get("taints", ())
    } <= tolerated
    if engines.num_gpus:
        assert int(pool["spec"]["limits"]["nvidia.com/gpu"]) >= 2 * engines.max_replicas


def test_nodes_of_engines_go_when_they_are_empty(cluster: list[Document]) -> None:
    for name in ("gpu", "cpu"):
        spec = one(cluster, "NodePool", name)["spec"]
        requirements = {each["key"]: each for each in spec["template"]["spec"]["requirements"]}
        node_class = one(cluster, "EC2NodeClass", name)["spec"]

        assert spec["disruption"]["consolidationPolicy"] == "WhenEmpty"
        assert spec["limits"]
        assert requirements["karpenter.sh/capacity-type"]["values"] == ["spot", "on-demand"]
        assert node_class["metadataOptions"]["httpPutResponseHopLimit"] == 1
        assert node_class["metadataOptions"]["httpTokens"] == "required"
        assert all(disk["ebs"]["encrypted"] for disk in node_class["blockDeviceMappings"])


def test_the_way_in(service: list[Document], cluster: list[Document]) -> None:
    """From the load balancer through the gateway that KubeRay makes, and by no other way."""
    ray = one(service, "RayService")
    upgrade = ray["spec"]["upgradeStrategy"]
    ingress = one(service, "Ingress")
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    gateway = f"{ray['metadata']['name']}-gateway"
    policies = {
        policy["metadata"]["name"]: policy["spec"]
        for policy in service
        if policy["kind"] == "NetworkPolicy"
    }
    annotations = ingress["metadata"]["annotations"]

    assert upgrade["type"] == "NewClusterWithIncrementalUpgrade"
    kind = upgrade["clusterUpgradeOptions"]["gatewayClassName"]
    assert path["backend"]["service"]["name"] == f"{gateway}-{kind}"
    defaults = one(cluster, "ConfigMap", "gateway-defaults")
    assert defaults["metadata"]["labels"] == {"gateway.istio.io/defaults-for-class": kind}
    assert yaml.safe_load(defaults["data"]["service"])["spec"]["type"] == "ClusterIP"
    assert rule["host"] in ingress["spec"]["tls"][0]["hosts"]
    assert annotations["alb.ingress.kubernetes.io/ssl-redirect"] == "443"
    assert annotations["alb.ingress.kubernetes.io/scheme"] == "internal"
    attributes = annotations["alb.ingress.kubernetes.io/load-balancer-attributes"].split(",")
    idle = dict(attribute.split("=") for attribute in attributes)["idle_timeout.timeout_seconds"]
    assert int(idle) > Arguments().start_seconds + Settings().deadline

    assert policies["nothing-else"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    by_gateway = {"gateway.networking.k8s.io/gateway-name": gateway}
    assert policies["gateway"]["podSelector"]["matchLabels"] == by_gateway
    open_ports = {
        str(rule["from"]): [port["port"] for port in rule.get("ports", ())]
        for rule in policies["ray"]["ingress"]
    }
    assert open_ports[str([{"podSelector": {"matchLabels": by_gateway}}])] == [8000]
    dashboards = [source for source, ports in open_ports.items() if 8265 in ports]
    assert len(dashboards) == 1
    assert "kuberay-operator" in dashboards[0]
    assert not any("ipBlock" in source for source in open_ports)


def test_the_page_is_one_process_that_reaches_the_gateway_alone(service: list[Document]) -> None:
    page = built(KUBERAY / "page")
    deployment = one(page, "Deployment")["spec"]
    spec = deployment["template"]["spec"]
    (container,) = spec["containers"]
    labels = deployment["template"]["metadata"]["labels"]
    policies = {each["metadata"]["name"]: each["spec"] for each in page if "Policy" in each["kind"]}

    # Its queue is in the memory of the process.
    assert deployment["replicas"] == 1
    assert deployment["strategy"] == {"type": "Recreate"}
    attributes = one(page, "Ingress")["metadata"]["annotations"]
    assert (
        "stickiness.enabled=true"
        in (attributes["alb.ingress.kubernetes.io/target-group-attributes"])
    )
    assert spec["securityContext"]["runAsUser"] == USER
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]
    # The way in to the service is that of everyone.
    (path,) = one(service, "Ingress")["spec"]["rules"][0]["http"]["paths"]
    (url,) = [each["value"] for each in container["env"] if each["name"] == "SD_URL"]
    assert url == f"http://{path['backend']['service']['name']}"
    gateway = one(service, "NetworkPolicy", "gateway")["spec"]["podSelector"]
    assert policies["page"]["podSelector"]["matchLabels"] == labels
    assert policies["page"]["egress"] == [
        {"to": [{"podSelector": gateway}], "ports": [{"protocol": "TCP", "port": 80}]}
    ]
    assert policies["page-to-gateway"]["podSelector"] == gateway
    assert policies["page-to-gateway"]["ingress"][0]["from"] == [
        {"podSelector": {"matchLabels": labels}}
    ]
    # Nobody's key, unless there is a Secret of that name.
    assert container["envFrom"] == [{"secretRef": {"name": "page", "optional": True}}]
    # Kubernetes asks what the image asks of itself.
    asked = {container[kind]["httpGet"]["path"] for kind in ("startupProbe", "livenessProbe")}
    assert all(path in (ROOT / "ui" / "Dockerfile").read_text() for path in asked)
    (allowed,) = [each["value"] for each in container["env"] if each["name"] == "UI_ALLOWED_HOSTS"]
    assert allowed == one(page, "Ingress")["spec"]["rules"][0]["host"]
