"""The trainings as RayJobs: what neither schemas nor checkov say of them."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from models.catalog import load_catalog
from tests.unit.deployment.manifests import one
from tests.unit.deployment.ray_jobs import FOLDER, JOBS, Document, applied, nodes
from training.__main__ import parser


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return applied()


@pytest.mark.parametrize("name", JOBS)
def test_what_a_job_runs_is_there(documents: list[Document], name: str) -> None:
    job = one(documents, "RayJob", name)
    train, _, _ = job["spec"]["entrypoint"].partition(" && ")
    given = parser().parse_args(shlex.split(train)[3:])

    assert shlex.split(train)[:3] == ["python", "-m", "training"]
    assert given.ray_workers == len(nodes(job))
    assert all(pod_has_a_gpu(template["spec"]) for template in nodes(job))
    written = {given.storage, given.export} if name == JOBS[1] else {given.storage}
    fetched = [
        fetch["args"][2] for fetch in nodes(job)[0]["spec"]["initContainers"] if "args" in fetch
    ]
    assert prefixes([*written, *fetched]) <= {"training", "models"}
    assert prefixes(fetched) == {"training"}, "what the role may read"
    places = {fetch["args"][3] for fetch in nodes(job)[0]["spec"]["initContainers"]}
    assert places == {str(images(given)), "/data/base"}


def test_the_base_is_a_model_of_the_catalog() -> None:
    entry = load_catalog(FOLDER / "catalog.yaml").get("sdxl")

    assert str(entry.source.path) == "/data/base"  # type: ignore[union-attr]


def images(given: argparse.Namespace) -> Path:
    """Where the pictures are that a command trains on."""
    found: Path = getattr(given, "images", None) or given.data
    return found


def pod_has_a_gpu(spec: Document) -> bool:
    (ray,) = spec["containers"]
    return bool(ray["resources"]["limits"]["nvidia.com/gpu"] == "1")


def prefixes(addresses: list[str]) -> set[str]:
    """The first part of each path in the bucket: what the roles are written for."""
    return {re.sub(r"^s3://example-models/([^/]+)/.*$", r"\1", address) for address in addresses}
