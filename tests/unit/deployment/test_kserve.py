"""The manifests for KServe: what their schemas do not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from settings import Settings

FOLDER = Path(__file__).parents[3] / "deployment" / "kserve"


def manifests(kind: str) -> list[dict[str, Any]]:
    files = sorted(FOLDER.rglob("*.yaml"))
    documents = [one for file in files for one in yaml.safe_load_all(file.read_text()) if one]
    return [one for one in documents if one.get("kind") == kind]


RUNTIMES = {one["metadata"]["name"]: one["spec"] for one in manifests("ServingRuntime")}
SERVICES = {one["metadata"]["name"]: one for one in manifests("InferenceService")}


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_runtime(name: str) -> None:
    spec = RUNTIMES[name]
    (container,) = spec["containers"]

    assert container["name"] == "kserve-container"
    assert spec["protocolVersions"] == ["v1", "v2"]
    port = container["ports"][0]["containerPort"]
    assert spec["annotations"]["prometheus.kserve.io/port"] == str(port)
    # Without one of its own, a container gets a TCP probe.
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == port
    context = container["securityContext"]
    assert context["runAsNonRoot"] is context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}
    # OpenShift chooses it.
    assert "runAsUser" not in context
    writable = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert writable == {"/tmp", "/var/lib/bentoml", "/dev/shm"}
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in spec["volumes"] if "emptyDir" in volume
    }


@pytest.mark.parametrize("name", SERVICES)
def test_a_service(name: str) -> None:
    service = SERVICES[name]
    annotations = service["metadata"]["annotations"]
    predictor = service["spec"]["predictor"]
    model = predictor["model"]
    runtime = RUNTIMES[model["runtime"]]

    assert annotations["serving.kserve.io/deploymentMode"] == "Standard"
    assert model["modelFormat"]["name"] in [one["name"] for one in runtime["supportedModelFormats"]]
    assert predictor["timeout"] >= Settings().deadline
    fetches = "storageUri" in model or "storageUris" in predictor
    mounted = "SD_MODEL_SOURCE" in names(runtime["containers"][0])
    assert fetches is mounted
    for source in predictor.get("storageUris", ()):
        assert source["mountPath"].startswith("/mnt/models/")
    if "autoScaling" in predictor:
        assert annotations["serving.kserve.io/autoscalerClass"] == "keda"
        assert predictor["maxReplicas"] > predictor["minReplicas"]


def names(container: dict[str, Any]) -> set[str]:
    """The names of a container's environment."""
    return {one["name"] for one in container.get("env", ())}


def test_settings_are_some() -> None:
    containers = [spec["containers"][0] for spec in RUNTIMES.values()]
    containers += [service["spec"]["predictor"]["model"] for service in SERVICES.values()]
    given = {name for container in containers for name in names(container)}

    known = {f"SD_{name.upper()}" for name in Settings.model_fields}
    assert given - known == {"HOME"}


def test_all_are_in_a_kustomization() -> None:
    for folder in ("base", "models"):
        listed = yaml.safe_load((FOLDER / folder / "kustomization.yaml").read_text())
        files = {file.name for file in (FOLDER / folder).iterdir()} - {"kustomization.yaml"}
        assert set(listed["resources"]) | set(listed.get("configurations", ())) == files
