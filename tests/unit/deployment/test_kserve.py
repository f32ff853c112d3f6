"""The manifests for KServe: by their schemas, by checkov, and what neither says."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from models import __main__ as models_command
from models.catalog import load_catalog
from settings import Settings
from tests.conftest import ROOT
from tests.e2e.deployment.tools import tool
from tests.unit.deployment.kserve import (
    COMPONENTS,
    FOLDER,
    applied,
    deployment,
    of,
    pods_of_the_training,
    predictors,
    with_components,
)
from tests.unit.deployment.manifests import faults, one
from training.dreambooth.arguments import add_arguments, parse_options


def test_all_fit_their_schemas() -> None:
    documents = [*applied("overlays/openshift-ai"), *with_components()]
    (offered,) = one(applied("template"), "Template")["objects"]
    documents += [offered]
    training = applied("training")
    job = one(training, "RayJob")
    # There is a schema of the cluster in it, and of its pods.
    cluster = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": job["metadata"]}
    documents += [{**cluster, "spec": job["spec"]["rayClusterSpec"]}]
    documents += [*pods_of_the_training(training), *of(training, "PersistentVolumeClaim")]
    documents += of(training, "NetworkPolicy")
    whole = with_components()
    documents += [deployment(whole, *given) for given in predictors(whole)]

    assert faults(documents) == ["LocalQueue gpus: there is no schema for this kind"]


@pytest.mark.slow
def test_checkov_finds_nothing(tmp_path: Path) -> None:
    """In the pods that KServe and KubeRay make of them, and in what is beside them."""
    training = applied("training")
    documents = list(pods_of_the_training(training))
    whole = with_components()
    documents += [deployment(whole, *given) for given in predictors(whole)]
    for overlay in (applied("overlays/openshift-ai"), whole, training):
        documents += of(overlay, "ServiceAccount") + of(overlay, "NetworkPolicy")
    for place, document in enumerate(documents):
        (tmp_path / f"{place}.json").write_text(json.dumps(document))
    done = subprocess.run(
        [
            *(tool("checkov"), "--directory", str(tmp_path), "--framework", "kubernetes"),
            *("--config-file", str(FOLDER / "checkov.yaml"), "--output", "json"),
        ],
        capture_output=True,
        text=True,
    )
    said = json.loads(done.stdout)
    found = {
        (one["check_id"], one["check_name"], one["resource"])
        for one in said["results"]["failed_checks"]
    }

    assert found == set()
    assert said["summary"]["passed"] > 300
    assert done.returncode == 0, done.stderr


def test_runtimes() -> None:
    for spec in (runtime["spec"] for runtime in of(applied("overlays/kserve"), "ServingRuntime")):
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
        # OpenShift chooses it.
        assert "runAsUser" not in context
        writable = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert writable.keys() == {"/tmp", "/var/lib/bentoml", "/dev/shm"}
        assert set(writable.values()) == {
            volume["name"] for volume in spec["volumes"] if "emptyDir" in volume
        }
        wants_gpu = "nvidia.com/gpu" in container["resources"]["limits"]
        assert ("tolerations" in spec) is wants_gpu


def test_services() -> None:
    settings = Settings()
    documents = with_components()
    for service in of(documents, "InferenceService"):
        metadata, predictor = service["metadata"], service["spec"]["predictor"]
        assert metadata["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
        assert metadata["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
        if "autoScaling" in predictor:
            assert metadata["annotations"]["serving.kserve.io/autoscalerClass"] == "keda"
            assert predictor["maxReplicas"] > predictor["minReplicas"]
    for _, predictor in predictors(documents):
        model = predictor["model"]
        runtime = one(documents, "ServingRuntime", model["runtime"])["spec"]
        formats = [one["name"] for one in runtime["supportedModelFormats"]]
        assert model["modelFormat"]["name"] in formats
        assert predictor["timeout"] >= settings.deadline
        # Kubernetes' own half a minute would cut pictures off.
        assert predictor["terminationGracePeriodSeconds"] >= settings.drain + 20
        fetches = "storageUri" in model or "storageUris" in predictor
        mounted = "SD_MODEL_SOURCE" in names(runtime["containers"][0])
        assert fetches is mounted
        for source in predictor.get("storageUris", ()):
            assert source["mountPath"].startswith("/mnt/models/")
        given = names(runtime["containers"][0]) | names(model)
        assert given - {f"SD_{name.upper()}" for name in Settings.model_fields} == {"HOME"}


def test_no_pod_has_a_token_but_where_a_proxy_asks_for_them() -> None:
    documents = applied("overlays/kserve")
    assert one(documents, "ServiceAccount")["automountServiceAccountToken"] is False
    for name, predictor in predictors(documents):
        assert (
            predictor.get("serviceAccountName") == "models"
            or predictor["automountServiceAccountToken"] is False
        ), name


def names(container: dict[str, Any]) -> set[str]:
    """The names of a container's environment."""
    return {one["name"] for one in container.get("env", ())}


def test_components() -> None:
    documents = with_components()
    sdxl = one(documents, "InferenceService", "sdxl")["spec"]
    (metric,) = sdxl["predictor"]["autoScaling"]["metrics"]
    account = one(documents, "ServiceAccount")

    assert sdxl["predictor"]["minReplicas"] == 0
    query = metric["external"]["metric"]["query"]
    # With no replica there is no queue, and without a value KEDA could not wake one.
    assert query.count("or vector(0)") == 2
    assert "istio_requests_total" in query
    assert [canary["trafficPercent"] for canary in sdxl["canary"]] == [10]
    assert (account["secrets"], "annotations" in account["metadata"]) == (
        [{"name": "s3-models"}],
        False,
    )
    assert {folder.name for folder in (FOLDER / "components").iterdir()} == set(COMPONENTS)


def test_openshift_ai() -> None:
    documents = applied("overlays/openshift-ai")
    for service in of(documents, "InferenceService"):
        metadata, predictor = service["metadata"], service["spec"]["predictor"]
        assert metadata["labels"]["opendatahub.io/dashboard"] == "true"
        assert metadata["labels"]["networking.kserve.io/visibility"] == "exposed"
        assert metadata["annotations"]["security.opendatahub.io/enable-auth"] == "true"
        # The proxy asks the API whether a token counts.
        assert predictor["automountServiceAccountToken"] is True
        patience = metadata["annotations"]["haproxy.router.openshift.io/timeout"]
        assert int(patience.removesuffix("s")) > Settings().deadline
    for runtime in of(documents, "ServingRuntime"):
        assert runtime["metadata"]["labels"]["opendatahub.io/dashboard"] == "true"
        assert "openshift.io/display-name" in runtime["metadata"]["annotations"]

    (template,) = applied("template")
    (offered,) = template["objects"]
    own = one(documents, "ServingRuntime", "stable-diffusion")
    assert offered["spec"] == own["spec"]
    assert offered["metadata"]["labels"] == own["metadata"]["labels"]
    assert offered["metadata"]["annotations"].items() <= own["metadata"]["annotations"].items()


def test_what_the_training_runs_is_there() -> None:
    spec = one(applied("training"), "RayJob")["spec"]
    train, export = (shlex.split(part) for part in spec["entrypoint"].split(" && "))
    groups = [spec["rayClusterSpec"]["headGroupSpec"], *spec["rayClusterSpec"]["workerGroupSpecs"]]
    nodes = [group["template"]["spec"] for group in groups]

    assert train[:4] == ["python", "-m", "training", "dreambooth"]
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    given = parser.parse_args(train[4:])
    options = parse_options(given)
    entry = load_catalog(FOLDER / "training" / "catalog.yaml").get(options.base)
    assert f"fp{16 if options.mixed_precision == 'fp16' else 32}" in entry.variants
    assert given.ray_workers == len(nodes)
    assert export[:3] == ["python", "-m", "models"]
    exported = models_command._parser().parse_args(export[3:])
    assert (exported.command, exported.name) == ("export", options.output)
    assert exported.catalog == options.catalog
    for node in nodes:
        (ray,) = node["containers"]
        assert ray["resources"]["limits"]["nvidia.com/gpu"] == "1"
        fetched = {one["args"][1] for one in node["initContainers"]}
        assert fetched == {str(entry.source.path), str(options.images)}  # type: ignore[union-attr]
        mounts = {mount["mountPath"] for mount in ray["volumeMounts"]}
        assert {"/data", "/scratch", str(options.catalog.parent)} <= mounts  # type: ignore[union-attr]
    served = one(applied("overlays/kserve"), "InferenceService", "sdxl-tuned")["spec"]["predictor"]
    assert exported.destination in [one["uri"] for one in served["storageUris"]]
    requirement = (ROOT / "requirements-ray.txt").read_text()
    assert f"]=={spec['rayClusterSpec']['rayVersion']}\n" in requirement
