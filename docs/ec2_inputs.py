"""The page of the EC2 module, with its inputs and outputs: ``python -m docs.ec2_inputs``.

The module's own words: descriptions, types and defaults of its variables.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULE = ROOT / "deployment" / "terraform" / "modules" / "ec2-service"
PAGE = MODULE / "README.md"
BEGINNING = """\
# ec2-service

An image of the service on GPU instances of EC2, behind a load balancer with TLS. Its page is
`docs/deploy-ec2.md` of the repository; `examples/ec2` is a root over it.

Written by `make ec2-inputs`, of variables.tf and outputs.tf, whose validations say more.
"""

_PART = re.compile(
    r'^(?:# (?P<heading>[^\n]+)|variable "(?P<name>\w+)" \{\n(?P<body>.*?)^\})', re.M | re.S
)
_OUTPUT = re.compile(r'^output "(\w+)" \{\n  description = "(.*)"', re.M)


def page() -> str:
    """The text of the page, in Markdown."""
    lines = [BEGINNING]
    for part in _PART.finditer((MODULE / "variables.tf").read_text(encoding="utf-8")):
        if heading := part["heading"]:
            lines.append(f"\n## {heading}\n\n| input | type | default | |\n|---|---|---|---|\n")
        else:
            lines.append(_row(part["name"], part["body"]))
    lines.append("\n## Outputs\n\n| output | |\n|---|---|\n")
    outputs = _OUTPUT.findall((MODULE / "outputs.tf").read_text(encoding="utf-8"))
    lines += [f"| `{name}` | {description} |\n" for name, description in outputs]
    return "".join(lines)


def _row(name: str, body: str) -> str:
    kind, default = (_argument(body, argument) for argument in ("type", "default"))
    said = f"`{default}`" if default else "**required**"
    return f"| `{name}` | `{kind}` | {said} | {_argument(body, 'description')[1:-1]} |\n"


def _argument(body: str, name: str) -> str:
    """What an argument is, on one line; empty where it is not there."""
    found = re.search(rf"^  {name} += (.*?\n(?:    .*\n)*(?:  [)}}].*\n)?)", body, re.M)
    return re.sub(r"\s+", " ", found[1]).strip() if found else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
