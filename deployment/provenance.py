"""Who made the files of a release, of what, and how: in-toto's statement, and a signature.

The statement is SLSA's provenance. The signature is cosign's of a blob: ECDSA over SHA-256, in
base64, by a key that needs no network; ``cosign verify-blob`` and openssl check it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class SigningFailed(RuntimeError):
    """The key cannot sign; the message is openssl's."""


def statement(files: Sequence[Path], *, version: str, revision: str, epoch: int) -> dict[str, Any]:
    """SLSA's provenance of files that ``make release`` has made.

    Args:
        files: what it is about, by name and digest.
        version: of the project.
        revision: the commit that they were made of.
        epoch: its time, in seconds since 1970.
    """
    subjects = [
        {"name": file.name, "digest": {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}}
        for file in files
    ]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "make release",
                "externalParameters": {"version": version},
                "resolvedDependencies": [
                    {"uri": "git+local", "digest": {"gitCommit": revision}},
                ],
            },
            "runDetails": {
                "builder": {"id": "deployment/release.py", "version": _tools()},
                "metadata": {"startedOn": datetime.fromtimestamp(epoch, UTC).isoformat()},
            },
        },
    }


def _tools() -> dict[str, str]:
    return {"python": platform.python_version()}


def write(files: Sequence[Path], target: Path, **about: Any) -> Path:
    """Write the statement about files; returns its own file."""
    target.write_text(json.dumps(statement(files, **about), indent=2) + "\n", encoding="utf-8")
    return target


def sign(file: Path, key: Path) -> Path:
    """Sign a file with a private key (PEM, ECDSA P-256); returns ``FILE.sig``.

    Raises:
        SigningFailed: the key is not there, or not of that kind.
    """
    command = ["openssl", "dgst", "-sha256", "-sign", str(key), str(file)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise SigningFailed(f"{key} cannot sign: {done.stderr.decode().strip()}")
    signature = file.with_name(f"{file.name}.sig")
    signature.write_bytes(base64.b64encode(done.stdout) + b"\n")
    return signature
