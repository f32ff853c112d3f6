"""What says what is in an image and in a release: bills, the gate, provenance, the signature."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deployment import provenance
from deployment.bento.build import _level
from deployment.container import debian_packages, vulnerabilities


def test_the_modes_of_a_bento_are_not_those_of_a_umask(tmp_path: Path) -> None:
    bento = tmp_path / "bento"
    (bento / "src").mkdir(parents=True, mode=0o700)
    bento.chmod(0o700)
    for name, mode in (("code.py", 0o600), ("entrypoint.sh", 0o700)):
        (bento / "src" / name).touch()
        (bento / "src" / name).chmod(mode)
    _level(bento)

    modes = {path.name: path.stat().st_mode & 0o777 for path in (bento, *bento.rglob("*"))}
    assert modes == {"bento": 0o755, "src": 0o755, "code.py": 0o644, "entrypoint.sh": 0o755}


def test_debians_packages_are_in_the_bill() -> None:
    lines = ["zlib1g 1:1.2.13.dfsg-1 amd64\n", "bash 5.2.15-2+b10 amd64\n", "\n"]
    first, second = debian_packages.components(lines)

    assert (first["name"], second["name"]) == ("bash", "zlib1g")
    assert first["purl"] == "pkg:deb/debian/bash@5.2.15-2%2Bb10?arch=amd64"
    assert second["purl"] == "pkg:deb/debian/zlib1g@1%3A1.2.13.dfsg-1?arch=amd64"


TRIVY = {
    "Results": [
        {"Target": "no findings"},
        {
            "Vulnerabilities": [
                {"PkgName": "libc6", "VulnerabilityID": "CVE-1", "Severity": "CRITICAL"},
                {"PkgName": "bash", "VulnerabilityID": "CVE-2", "Severity": "LOW"},
            ]
        },
    ]
}
GRYPE = {
    "matches": [
        {
            "artifact": {"name": "libc6", "version": "1"},
            "vulnerability": {"id": "CVE-1", "severity": "High"},
        }
    ]
}
AUDIT = {"dependencies": [{"name": "libc6", "version": "1", "vulns": [{"id": "CVE-1"}]}]}
EXCEPTION = "- {id: CVE-1, package: libc6, reason: not called, until: %s}\n"


@pytest.mark.parametrize("report", [TRIVY, GRYPE, AUDIT], ids=["trivy", "grype", "pip-audit"])
@pytest.mark.parametrize(
    ("exceptions", "status"),
    [
        ("[]", 1),
        (EXCEPTION % "2999-01-01", 0),
        (EXCEPTION % "2020-01-01", 1),
        ("- {id: CVE-1, package: bash, reason: not called, until: 2999-01-01}", 1),
        ("- {id: CVE-1, package: libc6, until: 2999-01-01}", 1),
    ],
    ids=["none", "excepted", "too late", "of another package", "without a reason"],
)
def test_the_gate(tmp_path: Path, report: dict[str, Any], exceptions: str, status: int) -> None:
    (tmp_path / "report.json").write_text(json.dumps(report))
    (tmp_path / "exceptions.yaml").write_text(exceptions)
    arguments = [str(tmp_path / "report.json"), "--exceptions", str(tmp_path / "exceptions.yaml")]

    assert vulnerabilities.main(arguments) == status


def test_what_the_scanner_has_not_looked_at_is_not_free_of_faults(tmp_path: Path) -> None:
    """pip-audit ends with 0 and "No known vulnerabilities found" where no index responds."""
    skipped = {"name": "torch", "skip_reason": "Dependency not found on PyPI"}
    (tmp_path / "report.json").write_text(json.dumps({"dependencies": [skipped], "fixes": []}))
    (tmp_path / "exceptions.yaml").write_text("[]")
    arguments = [str(tmp_path / "report.json"), "--exceptions", str(tmp_path / "exceptions.yaml")]
    assert vulnerabilities.main(arguments) == 1

    excepted = EXCEPTION.replace("CVE-1", "SKIPPED").replace("libc6", "torch") % "2999-01-01"
    (tmp_path / "exceptions.yaml").write_text(excepted)
    assert vulnerabilities.main(arguments) == 0


def test_a_file_that_is_no_report_does_not_open_the_gate(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{}")

    assert vulnerabilities.main([str(tmp_path / "report.json")]) == 1


def test_the_exceptions_that_are_written_down_are_well_formed(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"matches": []}')

    assert vulnerabilities.main([str(tmp_path / "report.json")]) == 0


def test_a_release_says_what_it_was_made_of_and_by_whom(tmp_path: Path) -> None:
    """The signature is one of a blob, as cosign makes it: openssl checks it as well."""
    file = tmp_path / "a.bento"
    file.write_text("bento")
    target = tmp_path / "provenance.intoto.json"
    provenance.write([file], target, version="1.2.3", revision="abc", epoch=1_700_000_000)
    said = json.loads(target.read_text())
    assert said["predicateType"] == "https://slsa.dev/provenance/v1"
    (subject,) = said["subject"]
    assert subject["name"] == "a.bento"
    assert len(subject["digest"]["sha256"]) == 64
    assert "2023-11-14" in said["predicate"]["runDetails"]["metadata"]["startedOn"]

    key, public = tmp_path / "key.pem", tmp_path / "key.pub"
    make = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key)]
    subprocess.run(make, check=True, capture_output=True)
    tell = ["openssl", "ec", "-in", str(key), "-pubout", "-out", str(public)]
    subprocess.run(tell, check=True, capture_output=True)
    signature = provenance.sign(target, key)
    raw = tmp_path / "raw"
    raw.write_bytes(base64.b64decode(signature.read_text()))
    verify = ["openssl", "dgst", "-sha256", "-verify", str(public), "-signature", str(raw)]
    assert subprocess.run([*verify, str(target)], capture_output=True).returncode == 0
    target.write_text("changed")
    assert subprocess.run([*verify, str(target)], capture_output=True).returncode != 0
    with pytest.raises(provenance.SigningFailed, match="cannot sign"):
        provenance.sign(target, tmp_path / "nothing.pem")
