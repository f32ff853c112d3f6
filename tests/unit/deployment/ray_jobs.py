"""The trainings as RayJobs: ``deployment/kuberay/training``, as it is applied."""

from __future__ import annotations

from typing import Any

from tests.conftest import ROOT
from tests.unit.deployment.manifests import built, one

FOLDER = ROOT / "deployment" / "kuberay" / "training"
JOBS = ("dreambooth-clay", "classifier-flowers")
# They come to an end by themselves, and serve nobody.
_NO_PROBES = {
    "checkov.io/skip1": "CKV_K8S_8=nobody is served",
    "checkov.io/skip2": "CKV_K8S_9=nobody is served",
}

Document = dict[str, Any]


def checked(documents: list[Document]) -> list[Document]:
    """What checkers know of it: the cluster in each job, the pods, and what is beside them."""
    clusters = [
        {
            "apiVersion": "ray.io/v1",
            "kind": "RayCluster",
            "metadata": job["metadata"],
            "spec": job["spec"]["rayClusterSpec"],
        }
        for job in [one(documents, "RayJob", name) for name in JOBS]
    ]
    beside = [document for document in documents if document["kind"] != "RayJob"]
    return [*clusters, *pods(documents), *beside]


def applied() -> list[Document]:
    """All of it."""
    return built(FOLDER)


def nodes(job: Document) -> list[Document]:
    """The pod templates of a job's cluster."""
    cluster = job["spec"]["rayClusterSpec"]
    return [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def pods(documents: list[Document]) -> list[Document]:
    """The pods that KubeRay makes, which checks of pods do not look for there."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{name}-{place}",
                "namespace": "stable-diffusion",
                "labels": template["metadata"]["labels"],
                "annotations": template["metadata"].get("annotations", {}) | _NO_PROBES,
            },
            "spec": template["spec"],
        }
        for name in JOBS
        for job in [one(documents, "RayJob", name)]
        for place, template in enumerate([job["spec"]["submitterPodTemplate"], *nodes(job)])
    ]
