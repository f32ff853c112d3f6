"""The files of a release, the same bytes each time: ``python -m deployment.release``.

Times are those of the commit (or of ``SOURCE_DATE_EPOCH``), files are in order, owners and modes
are plain; so the same commit with the same Python gives the same checksums.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import lzma
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import bentoml
import yaml
from packaging.utils import canonicalize_name

from api.version import VERSION
from deployment import provenance
from deployment.bento.build import build, commit_time, revision
from deployment.bento.packages import ROOT, brought_along, required
from deployment.bento.recipe import Recipe, choose
from models.catalog import load_catalog

TERRAFORM = ROOT / "deployment" / "terraform"
CHECKSUMS = "SHA256SUMS"
PROVENANCE = "provenance.intoto.json"


def release(folder: Path, epoch: int, key: Path | None = None) -> list[Path]:
    """Write the Bentos of the embedded model, the Terraform modules, bills of materials, checksums.

    Args:
        folder: where to; made if it is not there.
        epoch: the time of all files, in seconds since 1970.
        key: a private key (PEM, ECDSA P-256) to sign the checksums with.

    Returns:
        The files; the checksums are the last, but for their signature.

    Raises:
        SigningFailed: the key is not there, or not of that kind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for recipe in (choose([load_catalog().get("embedded")], name) for name in ("fp32", "fp16")):
        files.append(_bento(recipe, folder, epoch))
        files.append(_bill_of_materials(recipe, folder))
    files.append(_terraform(folder, epoch))
    about = {"version": VERSION, "revision": revision(), "epoch": epoch}
    files.append(provenance.write(files, folder / PROVENANCE, **about))
    sums = folder / CHECKSUMS
    digests = (f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    sums.write_text("".join(digests))
    files.append(sums)
    if key is not None:
        files.append(provenance.sign(sums, key))
    return files


def pack(
    folder: Path,
    stream: BinaryIO | gzip.GzipFile | lzma.LZMAFile,
    epoch: int,
    wanted: Callable[[Path], bool] = lambda _: True,
) -> None:
    """Write a tar archive of what is in a folder, that depends on its content alone.

    Args:
        wanted: whether a path, relative to the folder, goes into it.
    """
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if not wanted(name):
                continue
            member = archive.gettarinfo(path, name.as_posix())
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = epoch
            member.mode = 0o755 if path.is_dir() or path.suffix == ".sh" else 0o644
            if path.is_file():
                with path.open("rb") as content:
                    archive.addfile(member, content)
            else:
                archive.addfile(member)


def released(module: Path) -> set[Path]:
    """The files of a Terraform folder that the repository has, but for tests, relative to it.

    Who has applied it has the state, values and plans there too, with names and secrets.
    """
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=module, capture_output=True, text=True, check=True).stdout
    files = {Path(name) for name in listed.split("\0") if name}
    return {file for file in files if "tests" not in file.parts}


def _terraform(folder: Path, epoch: int) -> Path:
    target = folder / f"terraform-aws-ec2-{VERSION}.tar.gz"
    files = released(TERRAFORM)
    wanted = files.union(*(file.parents for file in files))
    with (
        target.open("wb") as file,
        gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=epoch) as stream,
    ):
        pack(TERRAFORM, stream, epoch, wanted.__contains__)
    return target


def _bento(recipe: Recipe, folder: Path, epoch: int) -> Path:
    """What ``bentoml export`` would write, but for the times: ``bentoml import`` takes it."""
    tag = build(recipe, revision=revision(), epoch=epoch)
    target = folder / f"{recipe.name}-{VERSION}.bento"
    with tempfile.TemporaryDirectory() as temporary:
        staged = Path(temporary, "bento")
        bentoml.export_bento(tag, str(staged), output_format="folder")
        description = staged / "bento.yaml"
        content = yaml.safe_load(description.read_text())
        content["creation_time"] = datetime.fromtimestamp(epoch, UTC).isoformat()
        description.write_text(yaml.safe_dump(content, sort_keys=False))
        with lzma.open(target, "wb") as stream:
            pack(staged, stream, epoch)
    return target


def _bill_of_materials(recipe: Recipe, folder: Path) -> Path:
    """The Python packages of a Bento, in CycloneDX: its requirements and what they bring along."""
    file = folder / f"{recipe.name}-{VERSION}.cdx.json"
    direct = required(*(ROOT / name for name in recipe.requirements))
    # Of the two for torch the one of the device, which comes first.
    pins = {str(canonicalize_name(item.name)): str(item.specifier) for item in reversed(direct)}
    pinned = [
        f"{name}{pins.get(name, f'=={version}')}" for name, version in brought_along(direct).items()
    ]
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", "--output-reproducible"]
    subprocess.run(
        [*command, "--pyproject", str(ROOT / "pyproject.toml"), "--output-file", str(file), "-"],
        input="\n".join(pinned),
        text=True,
        check=True,
    )
    return file


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deployment.release", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--key", type=Path, help="PEM, ECDSA P-256, to sign the checksums with")
    options = parser.parse_args()
    epoch = commit_time()
    if epoch is None:
        parser.error("this is no git checkout: set SOURCE_DATE_EPOCH")
    for file in release(options.out.resolve(), epoch, options.key):
        print(file)


if __name__ == "__main__":
    main()
