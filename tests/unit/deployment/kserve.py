"""The manifests for KServe as they are applied, and the pods that KServe makes of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from tests.conftest import ROOT
from tests.unit.deployment.manifests import built, one

FOLDER = ROOT / "deployment" / "kserve"
COMPONENTS = ("s3-secret", "to-zero", "canary", "kueue", "keys")

Document = dict[str, Any]


@cache
def applied(name: str) -> tuple[Document, ...]:
    """What ``kubectl apply -k deployment/kserve/NAME`` would apply."""
    return tuple(built(FOLDER / name))


@cache
def with_components() -> tuple[Document, ...]:
    """The overlay for KServe with all components."""
    with TemporaryDirectory(dir=ROOT.parent) as folder:
        above = os.path.relpath(FOLDER, folder)
        made = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [f"{above}/overlays/kserve"],
            "components": [f"{above}/components/{name}" for name in COMPONENTS],
        }
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(made))
        return tuple(built(Path(folder)))


def of(documents: Sequence[Document], kind: str) -> list[Document]:
    return [document for document in documents if document["kind"] == kind]


def predictors(documents: Sequence[Document]) -> Iterator[tuple[str, Document]]:
    """Each predictor by its name, canaries too."""
    for service in of(documents, "InferenceService"):
        name, spec = service["metadata"]["name"], service["spec"]
        yield name, spec["predictor"]
        for canary in spec.get("canary", ()):
            yield f"{name}-{canary['predictor']['name']}", canary["predictor"]


def deployment(documents: Sequence[Document], name: str, predictor: Document) -> Document:
    """The Deployment that KServe makes of a predictor and its runtime, without what it fetches."""
    runtime = one(documents, "ServingRuntime", predictor["model"]["runtime"])["spec"]
    (container,) = runtime["containers"]
    own = (
        *("serviceAccountName", "automountServiceAccountToken", "securityContext"),
        "terminationGracePeriodSeconds",
    )
    labels = {"app": f"isvc.{name}-predictor"}
    container = {**container, "env": [*container["env"], *predictor["model"].get("env", ())]}
    spec = {
        "containers": [container],
        "volumes": runtime["volumes"],
        "tolerations": runtime.get("tolerations", []),
        **{key: predictor[key] for key in own if key in predictor},
    }
    return workload("apps/v1", "Deployment", f"{name}-predictor", labels, spec)


def workload(version: str, kind: str, name: str, labels: Document, spec: Document) -> Document:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": "models", "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def pods_of_the_training(documents: Sequence[Document]) -> Iterator[Document]:
    """The pods of the job, as Deployments, which is what checkers know."""
    spec = one(documents, "RayJob")["spec"]
    cluster = spec["rayClusterSpec"]
    templates = {
        "submitter": spec["submitterPodTemplate"],
        "head": cluster["headGroupSpec"]["template"],
        "worker": cluster["workerGroupSpecs"][0]["template"],
    }
    for name, template in templates.items():
        kept = {key: value for key, value in template["spec"].items() if key != "restartPolicy"}
        yield workload("apps/v1", "Deployment", name, {"app": name}, kept)
