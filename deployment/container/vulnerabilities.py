"""The gate: fails where a scanner has found what nobody has written down as harmless.

    python deployment/container/vulnerabilities.py REPORT [--exceptions FILE]

The report is that of ``trivy image --format json``, ``grype -o json`` or ``pip-audit -f json``.
An exception names the vulnerability and the package, says why it does no harm here, and ends. What
pip-audit has not looked at (an index that does not respond, a version that it does not know) counts
as the vulnerability SKIPPED.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import yaml

EXCEPTIONS = Path(__file__).with_name("vulnerabilities.yaml")
# What stands for a package that a scanner has not looked at.
SKIPPED = "SKIPPED"
# Of what is less, nothing is released sooner.
SERIOUS = ("HIGH", "CRITICAL")


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A vulnerability of a package; pip-audit tells no severity, and all of its findings count."""

    package: str
    identity: str
    version: str
    severity: str


def findings(report: dict[str, Any]) -> Iterator[Finding]:
    """What a scanner has found.

    Raises:
        ValueError: it is no report of a scanner that is known.
    """
    if "Results" in report:
        for result in report["Results"]:
            for one in result.get("Vulnerabilities") or []:
                yield Finding(
                    one["PkgName"],
                    one["VulnerabilityID"],
                    one.get("InstalledVersion", ""),
                    one.get("Severity", "UNKNOWN").upper(),
                )
    elif "matches" in report:
        for match in report["matches"]:
            artifact, one = match["artifact"], match["vulnerability"]
            yield Finding(
                artifact["name"],
                one["id"],
                artifact.get("version", ""),
                one.get("severity", "Unknown").upper(),
            )
    elif "dependencies" in report:
        for package in report["dependencies"]:
            if "skip_reason" in package:
                yield Finding(package["name"], SKIPPED, package.get("version", ""), "HIGH")
            for one in package.get("vulns", []):
                yield Finding(package["name"], one["id"], package.get("version", ""), "HIGH")
    else:
        raise ValueError("it is no report of trivy, grype or pip-audit in JSON")


def excepted(exceptions: list[dict[str, Any]], today: date) -> set[tuple[str, str]]:
    """Vulnerability and package of the exceptions that still hold.

    Raises:
        ValueError: one of them lacks its reason or its end.
    """
    held = set()
    for one in exceptions:
        if missing := {"id", "package", "reason", "until"} - one.keys():
            raise ValueError(f"exception {one.get('id')}: {', '.join(sorted(missing))} is missing")
        if one["until"] >= today:
            held.add((one["id"], one["package"]))
    return held


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0, or 1 with what has been found on stderr."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", type=Path)
    parser.add_argument("--exceptions", type=Path, default=EXCEPTIONS)
    options = parser.parse_args(arguments)
    try:
        found = set(findings(json.loads(options.report.read_text(encoding="utf-8"))))
        listed = yaml.safe_load(options.exceptions.read_text(encoding="utf-8")) or []
        held = excepted(listed, datetime.now(UTC).date())
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    serious = sorted(one for one in found if one.severity in SERIOUS)
    left = [one for one in serious if (one.identity, one.package) not in held]
    for one in left:
        print(f"{one.severity} {one.identity} {one.package} {one.version}", file=sys.stderr)
    print(f"{len(found)} found, {len(serious)} serious, {len(serious) - len(left)} excepted")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
