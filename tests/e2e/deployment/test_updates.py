"""Each variable of the module is changed in a deployment that runs, against a mock of AWS."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from deployment.bentoctl.operator import terraform_root
from docs import ec2_inputs
from tests.e2e.deployment.conftest import FULL
from tests.e2e.deployment.tools import SOURCE, Module, mock_aws
from tests.e2e.deployment.updates import ALONG, APART, TABLE, WHOLE
from tests.effort import only_in_full

# make ec2-updates: each of them for itself, in four minutes of processor time. By default some at
# once: what nobody may replace is replaced by none of them, and what may change is what any of them
# may change.
EACH = os.environ.get("UPDATES") == "each"
AT_ONCE = 11


def test_the_modules_page_has_every_variable() -> None:
    text = ec2_inputs.PAGE.read_text()
    assert text == ec2_inputs.page(), "run: make ec2-inputs"
    row = r"^\| `(\w+)` \| `\w.*` \| (?:`.+`|\*\*required\*\*) \| .+ \|$"
    rows = re.findall(row, text, re.MULTILINE)
    assert rows == terraform_root.variables(SOURCE)


def test_the_table_has_every_variable() -> None:
    variables = terraform_root.variables(SOURCE)
    assert len(variables) == len(set(variables))
    assert TABLE.keys() | WHOLE == set(variables)
    assert not TABLE.keys() & WHOLE
    text = (SOURCE / "variables.tf").read_text()
    for name in ("deployment_name", "vpc_id", "vpc_cidr"):
        described = re.search(rf'variable "{name}" \{{\n  description = "(.*)"', text)
        assert described is not None
        assert described[1].endswith("Changing it replaces everything.")


@only_in_full
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_nothing_but_what_is_said_is_replaced(tmp_path: Path) -> None:
    with mock_aws(tmp_path) as aws:
        module = Module.of_the_service(tmp_path / "root", aws.environment)
        values = module.values("applied", FULL)
        module.run("apply", "-auto-approve", "-input=false", f"-var-file={values}")
        with ThreadPoolExecutor(2) as both:
            # moto forgets some of what it is told, which every plan would set again.
            forgotten, *plans = both.map(lambda names: planned(module, names), [(), *groups()])
    mistakes = {
        names: wrong
        for names, changes in zip(groups(), plans, strict=True)
        if (wrong := unexpected(names, changes, forgotten))
    }
    assert not mistakes


def groups() -> Iterator[tuple[str, ...]]:
    if EACH:
        yield from ((name,) for name in TABLE)
    else:
        together = [name for name in TABLE if name not in APART]
        for begin in range(0, len(together), AT_ONCE):
            yield tuple(together[begin : begin + AT_ONCE])
        yield APART


def planned(module: Module, names: tuple[str, ...]) -> dict[str, str]:
    """What a plan with other values of these variables does, by address."""
    values: dict[str, Any] = {**FULL}
    for name in names:
        values |= {name: TABLE[name].value, **ALONG.get(name, {})}
    file = module.values("-".join(names) or "applied", values)
    said = module.run(
        *("plan", "-input=false", "-lock=false", "-refresh=false", "-json"), f"-var-file={file}"
    )
    lines = [json.loads(line) for line in said.stdout.splitlines()]
    return {
        line["change"]["resource"]["addr"].removeprefix("module.service."): line["change"]["action"]
        for line in lines
        if line["type"] == "planned_change" and line["change"]["action"] != "read"
    }


def unexpected(
    names: tuple[str, ...], changes: dict[str, str], forgotten: dict[str, str]
) -> dict[str, str]:
    allowed = frozenset[str]().union(*(TABLE[name].changes for name in names))
    replaced = frozenset[str]().union(*(TABLE[name].replaces for name in names))
    return {
        address: action
        for address, action in changes.items()
        if forgotten.get(address) != action
        and (
            address.partition("[")[0] not in replaced
            and (action in ("replace", "delete") or not {address.partition("[")[0], "*"} & allowed)
        )
    }
