"""The build of a Bento from its recipe: ``bentoml build`` on a copy of the code."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bentoml
import yaml

from api.version import VERSION
from deployment.bento.packages import ROOT, flat, joined
from deployment.bento.recipe import CATALOG, COMPILER_PACKAGES, CUDA_VERSION, Recipe

BENTOFILE = ROOT / "bentofile.yaml"
# What the settings read beside the environment.
SETTINGS_FILE = "bento.env"
REQUIREMENTS = "requirements.txt"
HASHES = "requirements.hashes"
# Of all files of a Bento: the first day of 1980, which every archive can hold.
TIME = 315_532_800
# Beside what every Bento has, for an image that is a node of a Ray cluster: docs/deploy-eks.md.
RAY_CODE = ("/deployment/__init__.py", "/deployment/ray/", "/training/")
# Where BentoML's images have the code; Ray's processes start elsewhere.
CODE_IN_IMAGE = "/home/bentoml/bento/src"


class BuildFailed(RuntimeError):
    """BentoML refused; its own words are on stderr."""


def build(
    recipe: Recipe,
    *,
    version: str = VERSION,
    revision: str = "unknown",
    epoch: int | None = None,
    base_image: str | None = None,
) -> bentoml.Tag:
    """Build the Bento ``<recipe.name>:<version>``, in the place of an older one of that tag.

    Args:
        version: of the Bento; by default the project's.
        revision: the commit of the code, for the labels.
        epoch: its time, in seconds since 1970, for the image's label.
        base_image: what its image starts from; None: what the Dockerfile's template says.

    Raises:
        ModelError: a model is not here.
        BuildFailed: BentoML refused.
    """
    tag = bentoml.Tag(recipe.name, version)
    bentofile = described(recipe, version=version, revision=revision, epoch=epoch)
    if base_image is not None:
        bentofile["docker"]["base_image"] = base_image
    with tempfile.TemporaryDirectory(prefix="bento-") as folder:
        context = Path(folder)
        _copy_code(bentofile, context)
        _write_choices(recipe, bentofile, context)
        _forget(tag)
        process = subprocess.run(
            [sys.executable, "-m", "bentoml", "build", "--version", version, str(context)],
            cwd=context,
            env=_environment(),
            check=False,
            stdout=sys.stderr,
        )
    if process.returncode:
        raise BuildFailed(f"bentoml build ended with exit code {process.returncode}")
    _level(Path(bentoml.get(tag).path))
    return tag


def described(
    recipe: Recipe, *, version: str, revision: str, epoch: int | None = None
) -> dict[str, Any]:
    """The parsed ``bentofile.yaml`` with what the recipe makes of it."""
    bentofile: dict[str, Any] = yaml.safe_load(BENTOFILE.read_text(encoding="utf-8"))
    bentofile["name"] = recipe.name
    bentofile["labels"] |= {"version": version, "revision": revision, **recipe.labels()}
    bentofile["models"] = recipe.model_tags()
    bentofile["include"].append(f"/{SETTINGS_FILE}")
    if recipe.catalog is not None:
        bentofile["include"].append(f"/{CATALOG}")
    if "ray" in recipe.extras:
        bentofile["include"] += RAY_CODE
        bentofile["docker"]["env"]["PYTHONPATH"] = CODE_IN_IMAGE
    bentofile["exclude"] += [f"/models/{name}/" for name in recipe.left_out]
    bentofile["python"]["requirements_txt"] = REQUIREMENTS
    # The file of the device has it.
    del bentofile["python"]["extra_index_url"]
    docker = bentofile["docker"]
    docker["env"] |= {
        "SERVICE_NAME": recipe.name,
        "SERVICE_VERSION": version,
        "SERVICE_REVISION": revision,
    }
    if epoch is not None:
        docker["env"]["SERVICE_CREATED"] = datetime.fromtimestamp(epoch, UTC).isoformat()
    if recipe.device == "cuda":
        docker["cuda_version"] = CUDA_VERSION
        docker["system_packages"] = list(COMPILER_PACKAGES)
        # Which GPUs it sees is for who runs it to say: a pod that asked for none gets none.
        docker["env"]["NVIDIA_DRIVER_CAPABILITIES"] = "compute,utility"
    return bentofile


def revision() -> str:
    """The commit of the code; ``unknown`` outside of a git checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return process.stdout.strip()


def commit_time() -> int | None:
    """``SOURCE_DATE_EPOCH``, or the time of the commit; None outside of a git checkout."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ["git", "log", "-1", "--format=%ct"]
    try:
        return int(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    except (OSError, subprocess.CalledProcessError):
        return None


def _copy_code(bentofile: dict[str, Any], context: Path) -> None:
    """Copy what the file includes; what it excludes is left to BentoML."""
    wanted = [name.strip("/") for name in bentofile["include"]]
    wanted.append(bentofile["docker"]["dockerfile_template"])
    for name in wanted:
        source, target = ROOT / name, context / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, target)


def _write_choices(recipe: Recipe, bentofile: dict[str, Any], context: Path) -> None:
    lines = [f"{name}={value}\n" for name, value in recipe.settings().items()]
    (context / SETTINGS_FILE).write_text("".join(lines), encoding="utf-8")
    (context / REQUIREMENTS).write_text(
        "".join(flat(ROOT / name) for name in recipe.requirements), encoding="utf-8"
    )
    (context / HASHES).write_text(joined(recipe.optional), encoding="utf-8")
    (context / BENTOFILE.name).write_text(yaml.safe_dump(bentofile, sort_keys=False))
    if recipe.catalog is not None:
        shutil.copy(recipe.catalog, context / CATALOG)


def _level(bento: Path) -> None:
    """Give all files one time, and let anyone read them.

    podman takes files of another time for changed ones, and would install torch again, in a layer
    to be uploaded again, for each Bento. The image's user is not the one who built it, and should
    not depend on a umask of 077 or 027.
    """
    for path in (bento, *bento.rglob("*")):
        mode = path.stat().st_mode
        runs = path.is_dir() or mode & stat.S_IXUSR
        path.chmod(stat.S_IMODE(mode) | (0o555 if runs else 0o444))
        os.utime(path, (TIME, TIME))


def _forget(tag: bentoml.Tag) -> None:
    try:
        bentoml.bentos.delete(tag)
    except bentoml.exceptions.NotFound:
        return
    print(f"{tag} was there already; it is built again", file=sys.stderr)


def _environment() -> dict[str, str]:
    """That of this process, but what is served is what the recipe says."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SD_")}
    return {
        **inherited,
        "BENTOML_CONFIG": str(ROOT / "configuration.yaml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "SD_BUILD_ONLY": "true",
    }
