"""Adds Debian's packages to a bill of materials: ``dpkg-query --show | debian_packages.py BILL``.

They come as lines of name, version and architecture, and go into the CycloneDX file in its place.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote


def components(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Packages in CycloneDX's form, in the order of their names."""
    found = []
    for name, version, architecture in sorted(line.split() for line in lines if line.strip()):
        purl = f"pkg:deb/debian/{quote(name)}@{quote(version, safe='')}?arch={architecture}"
        found.append(
            {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
        )
    return found


def main() -> None:
    file = Path(sys.argv[1])
    packages = components(sys.stdin)
    if not packages:
        sys.exit("error: no packages of Debian; was the image asked?")
    bill = json.loads(file.read_text(encoding="utf-8"))
    bill.setdefault("components", []).extend(packages)
    file.write_text(json.dumps(bill, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
